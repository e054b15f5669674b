//! Scores: load against affinity, in one figure.
//!
//! The weights are the reference scheduler's (queue 2, KV cache 2, prefix 3, adapter 1). Its queue score is a rank between the
//! shortest and the longest queue, by which one request more or less can outweigh everything; here load counts in
//! proportion and without bound, so that affinity wins while an endpoint is merely busy and loses once it is overloaded.
//!
//! Work delays every request that is at the endpoint. So it weighs more where many are: least for what a prompt needs wherever it goes, most
//! for what another endpoint would spare it. Without that, a busy pool copies prefixes and adapters until nothing else fits its caches
//! (`bench/README.md`, pickers in virtual time).

use std::cmp::Ordering;

use crate::{latency::LoadFigures, load::Load, metrics::Adapters, room::QUEUE_LIMIT};

const QUEUE: f32 = 2.0;
const KV: f32 = 2.0;
const PREFIX: f32 = 3.0;
const ADAPTER: f32 = 1.0;

/// Running requests that weigh as much as [`QUEUE`].
pub(crate) const BATCH: f32 = 64.0;
/// Share by which each request that waits, or runs, adds to the weight of further work.
const DELAYED_WAITING: f32 = 0.2;
const DELAYED_RUNNING: f32 = 0.1;
/// Weight of a prompt's own work, as a share of [`PREFIX`], where it delays others.
const OWN_WORK: f32 = 0.3;
/// Weight of being far from a new prompt's home, on which several gateways agree.
pub(crate) const HOME: f32 = 1.0;
/// The same for a pool's one gateway, which deals new prompts out by itself: enough to decide between endpoints that were given as many.
pub(crate) const HOME_ALONE: f32 = 0.3;
/// Weight of each new prompt that an endpoint was given beyond the mean, and the most of them that count: whole adapters that no other endpoint
/// has are not driven out by them.
const NEW_PROMPT: f32 = 1.0;
const MOST_NEW_PROMPTS: f32 = 1.0;
/// Scores closer than this are ties, which chance decides. Less than what one request in flight weighs.
pub(crate) const TIE: f32 = 0.01;
/// Weight of twice the time that a request wants kept.
const MISS: f32 = 3.0;
/// Tokens that await prefill and count for nothing, about a second's worth; so many beyond them weigh 1. Below that, evenness of new prompts
/// decides, on which later requests depend.
const PREFILL_FREE: f32 = 16_000.0;
const PREFILL_SCALE: f32 = 15_000.0;
/// The most that they weigh: where all endpoints have such queues, prompts are to stay where they are cached.
const MOST_PREFILL: f32 = 2.0;
/// Bytes of a prompt per token.
pub(crate) const BYTES_PER_TOKEN: f32 = 4.0;
/// Bytes of prompt whose prefill is too short to be worth an affinity: half a prefix's weight is reached at this length.
const SHORT_PROMPT: f32 = 1024.0;

/// An endpoint as one pick saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidate {
    /// Its place among the pool's endpoints.
    pub(crate) member: u32,
    /// Endpoints of a lower priority value come first.
    pub(crate) priority: u8,
    /// It has just failed, or health checks rule it out: it comes last.
    pub(crate) failing: bool,
    pub(crate) load: Load,
    /// Bytes at the beginning of the prompt that are probably cached.
    pub(crate) prefix: u32,
    /// The same, or more at the prompt's home.
    pub(crate) likely: u32,
    /// Fitness to run the adapter, 0 to 1.
    pub(crate) adapter: f32,
    /// The client's earlier requests went there.
    pub(crate) is_preferred: bool,
    /// It has no room, where that counts: it comes after those that have.
    pub(crate) is_full: bool,
    /// Distance from being the prompt's home, 0 to 1.
    pub(crate) distance: f32,
    /// Cost of that distance for a new prompt.
    pub(crate) remoteness: f32,
    /// New prompts that it was given lately, beyond the mean of all: below 0 it was given fewer.
    pub(crate) new_prompts: f32,
    /// It is the nearest.
    pub(crate) is_home: bool,
    /// Fitness for the prompt's length, 0 to 1, where that counts.
    pub(crate) context: f32,
    pub(crate) score: f32,
    /// Tokens that await prefill there.
    pub(crate) pending: f32,
    /// Those of them of requests that tell when their prefill ends.
    pub(crate) told_pending: f32,
}

/// Figures of all candidates, by which each is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rivals {
    /// Bytes of the longest likely prefix.
    prefix: u32,
    /// Best place for the adapter, 0 to 1.
    adapter: f32,
}

impl Rivals {
    /// Figures of these.
    pub(crate) fn of(candidates: &[Candidate]) -> Self {
        candidates.iter().fold(Self { prefix: 0, adapter: 0.0 }, |all, candidate| Self {
            prefix: all.prefix.max(candidate.likely),
            adapter: all.adapter.max(candidate.adapter),
        })
    }
}

impl Candidate {
    /// Computes the score, for a prompt of so many bytes; 0 where prompts do not count.
    pub(crate) fn judge(&mut self, prompt_bytes: usize, pool: &Rivals) {
        let load = &self.load;
        let queue = load.waiting / QUEUE_LIMIT + load.running / BATCH;
        let delayed = DELAYED_WAITING * load.waiting + DELAYED_RUNNING * load.running;
        let share = |bytes: u32| share_of_prompt(bytes, prompt_bytes);
        let again = PREFIX * share(pool.prefix - self.likely) + ADAPTER * (pool.adapter - self.adapter);
        let without = |prefix: u32| share((prompt_bytes as u32).saturating_sub(prefix));
        let own = PREFIX * OWN_WORK * without(self.likely);
        // A short prompt is hardly worth sharing, so that it yields to any difference of load.
        let unevenness = NEW_PROMPT * self.new_prompts.clamp(-MOST_NEW_PROMPTS, MOST_NEW_PROMPTS);
        let spread = without(pool.prefix) * share(prompt_bytes as u32) * (self.remoteness + unevenness);
        let prefill = ((self.told_pending - PREFILL_FREE) / PREFILL_SCALE).clamp(0.0, MOST_PREFILL);
        let work = again * (1.0 + delayed) + own * delayed + prefill;
        self.score = -work - spread - QUEUE * queue - KV * load.kv + fastrand::f32() * TIE;
    }

    /// Figures that an endpoint's times depend on, for a request with so many tokens in its prompt.
    pub(crate) fn figures(&self, prompt_tokens: f32) -> LoadFigures {
        let own = (prompt_tokens - self.likely as f32 / BYTES_PER_TOKEN).max(0.0);
        let Load { waiting, running, kv, .. } = self.load;
        LoadFigures { prefill_tokens: self.pending + own, waiting, running, kv }
    }

    /// Takes from the score what an objective costs that is not kept. A near miss costs little: where each request left the engine that has its
    /// prompt for one that is a little sooner, all would have more to compute, and none would keep it (`bench/README.md`, pickers in virtual
    /// time).
    pub(crate) fn miss(&mut self, strain: f32) {
        self.score -= MISS * strain.max(1.0).log2();
    }

    /// Best first.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let last = self.failing.cmp(&other.failing);
        let by_score = || other.is_preferred.cmp(&self.is_preferred).then(other.score.total_cmp(&self.score));
        let full = (self.is_full && !self.is_preferred).cmp(&(other.is_full && !other.is_preferred));
        last.then(self.priority.cmp(&other.priority)).then(full).then_with(by_score)
    }
}

/// Weight of so many bytes of a prompt: their share of it, less where it is short.
pub(crate) fn share_of_prompt(bytes: u32, prompt_bytes: usize) -> f32 {
    bytes as f32 / (prompt_bytes as f32 + SHORT_PROMPT)
}

/// Fitness of an engine with these adapters to run a model: running 1, room for one more 0.8, waiting for room 0.6.
pub(crate) fn adapter_affinity(adapters: Option<&Adapters>, model: &str) -> f32 {
    let Some(adapters) = adapters else { return 0.0 };
    if adapters.running.iter().any(|name| **name == *model) {
        1.0
    } else if adapters.running.len() + adapters.waiting.len() < adapters.max as usize {
        0.8
    } else if adapters.waiting.iter().any(|name| **name == *model) {
        0.6
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The difference of two scores that is no chance.
    fn is_better(first: Candidate, second: Candidate) -> bool {
        let mut both = [first, second];
        let pool = Rivals::of(&both);
        both.iter_mut().for_each(|candidate| candidate.judge(28_672, &pool));
        both[0].score > both[1].score + TIE
    }

    fn candidate(prefix: u32, waiting: f32, running: f32) -> Candidate {
        Candidate { prefix, likely: prefix, load: Load { waiting, running, ..Load::default() }, ..Candidate::default() }
    }

    #[test]
    fn a_cached_prefix_outweighs_more_load_where_all_are_busy_than_where_others_are_idle() {
        assert!(is_better(candidate(0, 0.0, 0.0), candidate(24_576, 8.0, 64.0)));
        assert!(is_better(candidate(24_576, 16.0, 64.0), candidate(0, 8.0, 64.0)));
        assert!(is_better(candidate(0, 8.0, 64.0), candidate(24_576, 100.0, 64.0)));
    }

    #[test]
    fn a_new_prompt_goes_home_among_endpoints_as_busy_as_each_other() {
        let at = |distance| Candidate { remoteness: HOME * distance, ..candidate(0, 0.0, 3.0) };
        assert!(is_better(at(0.1), at(0.9)));
        let cached = Candidate { likely: 28_672, ..at(0.9) };
        assert!(is_better(cached, at(0.1)));
    }

    #[test]
    fn a_new_prompt_goes_where_fewer_new_ones_went_unless_another_has_it() {
        let given = |new_prompts| Candidate { new_prompts, ..candidate(0, 0.0, 3.0) };
        assert!(is_better(given(-0.5), given(0.5)));
        let cached = Candidate { likely: 28_672, ..given(5.0) };
        assert!(is_better(cached, given(-5.0)));
    }

    #[test]
    fn a_new_prompt_of_the_one_gateway_goes_where_fewer_went_though_that_is_far_from_home() {
        let at = |distance, new_prompts| Candidate { remoteness: HOME_ALONE * distance, new_prompts, ..candidate(0, 0.0, 3.0) };
        assert!(is_better(at(0.9, -0.5), at(0.1, 0.5)));
        assert!(is_better(at(0.1, 0.0), at(0.9, 0.0)));
    }

    #[test]
    fn a_short_prompt_goes_to_the_idler_endpoint_though_it_is_not_its_home() {
        let mut both = [Candidate { remoteness: HOME, ..candidate(0, 0.0, 0.0) }, candidate(0, 0.0, 1.0)];
        let pool = Rivals::of(&both);
        both.iter_mut().for_each(|candidate| candidate.judge(64, &pool));
        assert!(both[0].score > both[1].score + TIE);
    }

    fn adapters(max: u32, running: &[&str], waiting: &[&str]) -> Adapters {
        let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        Adapters { max, running: names(running), waiting: names(waiting) }
    }

    #[test]
    fn tokens_that_await_prefill_count_beyond_a_seconds_worth() {
        let awaits = |told_pending| Candidate { told_pending, ..candidate(0, 0.0, 3.0) };
        assert!(is_better(awaits(16_000.0), awaits(32_000.0)));
        assert!(!is_better(awaits(0.0), awaits(15_000.0)));
        let cached = Candidate { prefix: 28_672, likely: 28_672, ..awaits(40_000.0) };
        assert!(is_better(cached, awaits(0.0)), "a cached prompt is worth a wait");
    }

    #[test]
    fn a_running_adapter_beats_room_beats_waiting_beats_none() {
        let affinity = |adapters: Adapters| adapter_affinity(Some(&adapters), "sql");
        assert_eq!(affinity(adapters(2, &["sql", "chat"], &[])), 1.0);
        assert_eq!(affinity(adapters(2, &["chat"], &[])), 0.8);
        assert_eq!(affinity(adapters(2, &["chat", "code"], &["sql"])), 0.6);
        assert_eq!(affinity(adapters(2, &["chat", "code"], &[])), 0.0);
        assert_eq!(adapter_affinity(None, "sql"), 0.0);
    }
}
