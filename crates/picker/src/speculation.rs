//! Prompts that picks have just sent somewhere: the engine tells of their blocks once it has computed them, and until then a burst of one
//! new prefix is to stay together.
//!
//! An entry counts for 2 s. Picks drop those that are older; no timer does.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::tokens::PromptTokens;

/// How long a prompt is expected to be cached where it was sent.
const TTL: Duration = Duration::from_secs(2);
/// Most entries, and most memory of all together, in tokens of 4 bytes (16 MiB, shared with remembered answers as long as those last).
const MAX_ENTRIES: usize = 512;
const MAX_COST: usize = 4 << 20;
/// Tokens that a prefix is expected in steps of: of a block.
const STEP: usize = 16;

/// Recent picks, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Speculations {
    entries: VecDeque<Speculation>,
    cost: usize,
    /// Number of the next.
    next: u64,
}

/// A prompt that is expected somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpeculationId(u64);

#[derive(Debug)]
struct Speculation {
    id: SpeculationId,
    until: Instant,
    /// The endpoint; `None` once it has failed, until the request has gone to another.
    slot: Option<u16>,
    prompt: PromptTokens,
}

impl Speculations {
    /// Tells for each endpoint how much of a prompt it was sent before.
    pub(crate) fn expect_tokens(&mut self, prompt: &PromptTokens, now: Instant, mut expect: impl FnMut(u16, u32)) {
        self.expire(now);
        let mut longest: Vec<(u16, usize)> = Vec::new();
        for entry in &self.entries {
            let Some(slot) = entry.slot.filter(|_| entry.prompt.shares_cache_with(prompt)) else { continue };
            let place = longest.iter().position(|(other, _)| *other == slot).unwrap_or_else(|| {
                longest.push((slot, 0));
                longest.len() - 1
            });
            let (before, ours, theirs) = (longest[place].1, prompt.tokens(), entry.prompt.tokens());
            // Most of a burst differ where the first of it did: one token tells that they have no more in common.
            if ours.len() <= before || ours.get(before) != theirs.get(before) {
                continue;
            }
            longest[place].1 = before.max(common_prefix(ours, theirs));
        }
        for (slot, tokens) in longest {
            expect(slot, (tokens / STEP * STEP) as u32);
        }
    }

    /// Expects a prompt at an endpoint from now on. `None`: it is too long.
    pub(crate) fn add(&mut self, slot: u16, prompt: &PromptTokens, now: Instant) -> Option<SpeculationId> {
        self.expire(now);
        let cost = prompt.cost();
        if cost > MAX_COST {
            return None;
        }
        while self.entries.len() >= MAX_ENTRIES || self.cost + cost > MAX_COST {
            self.drop_oldest();
        }
        self.cost += cost;
        let id = SpeculationId(self.next);
        self.next += 1;
        self.entries.push_back(Speculation { id, until: now + TTL, slot: Some(slot), prompt: prompt.clone() });
        Some(id)
    }

    /// The request has gone to another endpoint: expects its prompt there from now on, if that has not expired.
    pub(crate) fn move_to(&mut self, slot: u16, id: SpeculationId, now: Instant) {
        self.expire(now);
        let place = self.entries.iter().position(|entry| entry.id == id);
        if let Some(entry) = place.and_then(|place| self.entries.remove(place)) {
            self.entries.push_back(Speculation { until: now + TTL, slot: Some(slot), ..entry });
        }
    }

    /// Expects nothing any more at an endpoint: it failed, lost its cache, or has left the pool.
    pub(crate) fn forget(&mut self, slot: u16) {
        self.entries.iter_mut().filter(|entry| entry.slot == Some(slot)).for_each(|entry| entry.slot = None);
    }

    fn expire(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|oldest| oldest.until <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.cost -= oldest.prompt.cost();
        }
    }
}

/// Tokens that both begin with.
pub(crate) fn common_prefix(one: &[u32], other: &[u32]) -> usize {
    let chunks = one.chunks_exact(STEP).zip(other.chunks_exact(STEP));
    let start = chunks.take_while(|(one, other)| one == other).count() * STEP;
    start + one[start..].iter().zip(&other[start..]).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(tokens: impl IntoIterator<Item = u32>, adapter: Option<&str>, salt: Option<&str>) -> PromptTokens {
        PromptTokens::new(tokens.into_iter().collect(), adapter, salt)
    }

    fn expected(speculations: &mut Speculations, prompt: &PromptTokens, now: Instant) -> Vec<(u16, u32)> {
        let mut expected = Vec::new();
        speculations.expect_tokens(prompt, now, |slot, tokens| expected.push((slot, tokens)));
        expected
    }

    #[test]
    fn a_prefix_is_expected_where_it_was_sent_for_2_seconds() {
        let (mut speculations, now) = (Speculations::default(), Instant::now());
        speculations.add(3, &prompt(0..100, None, None), now);
        speculations.add(3, &prompt((0..40).chain(500..600), None, None), now);
        speculations.add(5, &prompt((0..20).chain(900..1000), None, None), now);
        let asked = prompt((0..90).chain(700..710), None, None);
        assert_eq!(expected(&mut speculations, &asked, now), [(3, 80), (5, 16)]);
        let other = |adapter, salt| prompt(0..90, adapter, salt);
        for other in [other(Some("tuned"), None), other(None, Some("tenant"))] {
            assert!(expected(&mut speculations, &other, now).is_empty());
        }
        let soon = now + Duration::from_millis(1999);
        assert_eq!(expected(&mut speculations, &asked, soon).len(), 2);
        assert!(expected(&mut speculations, &asked, now + TTL).is_empty());
        assert_eq!((speculations.entries.len(), speculations.cost), (0, 0));
    }

    #[test]
    fn entries_and_their_tokens_are_bounded() {
        let (mut speculations, now) = (Speculations::default(), Instant::now());
        (0..2000).for_each(|_| _ = speculations.add(1, &prompt(0..10, None, None), now));
        assert_eq!((speculations.entries.len(), speculations.cost), (MAX_ENTRIES, 10 * MAX_ENTRIES));
        speculations.add(2, &prompt(0..MAX_COST as u32, None, None), now);
        assert_eq!((speculations.entries.len(), speculations.cost), (1, MAX_COST));
    }

    #[test]
    fn salts_and_adapters_count() {
        let (mut speculations, now) = (Speculations::default(), Instant::now());
        let salt = "s".repeat(MAX_COST);
        (0..10).for_each(|_| _ = speculations.add(1, &prompt(0..10, Some("tuned"), Some(&salt)), now));
        assert_eq!(speculations.entries.len(), 3, "4 MiB of 16 each, and some tokens");
    }

    #[test]
    fn a_prompt_is_expected_where_its_request_went_in_the_end() {
        let (mut speculations, now) = (Speculations::default(), Instant::now());
        let asked = prompt(0..100, None, None);
        let [one, other] = [3, 3].map(|slot| speculations.add(slot, &asked, now).expect("room"));
        speculations.forget(3);
        assert!(expected(&mut speculations, &asked, now).is_empty());
        let later = now + Duration::from_secs(1);
        speculations.move_to(5, one, later);
        assert_eq!(expected(&mut speculations, &asked, later + Duration::from_millis(1999)), [(5, 96)]);
        speculations.move_to(6, other, now + TTL);
        assert_eq!(expected(&mut speculations, &asked, now + TTL), [(5, 96)], "the other has expired");
        speculations.expire(later + TTL);
        assert_eq!((speculations.entries.len(), speculations.cost), (0, 0));
    }
}
