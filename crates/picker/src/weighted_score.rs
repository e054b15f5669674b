//! Scores by weighted scorers, as llm-d's picker has them. Formulas: llm-d's; figures: this picker's, so that requests sent since the last
//! scrape count.

use pailou_snapshot::ScorerWeights;

use crate::score::{BYTES_PER_TOKEN, Candidate, TIE};

/// Score of every endpoint for a prompt that has been seen somewhere, by the scorer of new ones.
const WARM: f32 = 0.5;
/// Score of an endpoint by its queue alone where nothing waits.
const NOTHING_WAITS: f32 = 0.5;

/// The least and the greatest of a figure.
#[derive(Clone, Copy)]
struct Range {
    least: f32,
    greatest: f32,
}

impl Range {
    fn of(candidates: &[Candidate], figure: impl Fn(&Candidate) -> f32) -> Self {
        let start = Self { least: f32::INFINITY, greatest: f32::NEG_INFINITY };
        candidates.iter().map(figure).fold(start, |range, it| Self { least: range.least.min(it), greatest: range.greatest.max(it) })
    }

    /// 1 at the least, 0 at the greatest; 1 for all where they are the same.
    fn score(self, figure: f32) -> f32 {
        let width = self.greatest - self.least;
        if width > 0.0 { (self.greatest - figure) / width } else { 1.0 }
    }
}

/// Computes all scores, for a prompt of so many bytes.
pub(crate) fn judge(candidates: &mut [Candidate], prompt_bytes: usize, weights: &ScorerWeights) {
    let waiting = Range::of(candidates, |it| it.load.waiting);
    let running = Range::of(candidates, |it| it.load.running);
    let most_active = candidates.iter().map(|it| it.load.level.requests()).max().unwrap_or(0) as f32;
    let new_prompts = Range::of(candidates, |it| it.new_prompts);
    let is_warm = candidates.iter().any(|it| it.likely > 0);
    for candidate in candidates {
        let load = &candidate.load;
        let score = weights.queue * waiting.score(load.waiting)
            + weights.running * running.score(load.running)
            + weights.kv_cache * (1.0 - load.kv).clamp(0.0, 1.0)
            + weights.prefix * prefix(candidate.likely, prompt_bytes, weights)
            + weights.adapter * candidate.adapter
            + weights.load_aware * NOTHING_WAITS * (1.0 - load.waiting / weights.load_threshold).clamp(0.0, 1.0)
            + weights.active_requests * active(load.level.requests() as f32, most_active, weights)
            + weights.token_load * token_load(candidate, prompt_bytes, weights)
            + weights.context_length * candidate.context
            + weights.no_hit * if is_warm { WARM } else { new_prompts.score(candidate.new_prompts) };
        candidate.score = score + fastrand::f32() * TIE;
    }
}

fn active(requests: f32, most: f32, weights: &ScorerWeights) -> f32 {
    if requests <= weights.idle_requests { 1.0 } else { (most - requests) / most * weights.most_busy_score }
}

fn token_load(candidate: &Candidate, prompt_bytes: usize, weights: &ScorerWeights) -> f32 {
    let own = prompt_bytes.saturating_sub(candidate.likely as usize) as f32 / BYTES_PER_TOKEN;
    (1.0 - (candidate.load.level.tokens() as f32 + own) / weights.most_tokens).clamp(0.0, 1.0)
}

fn prefix(cached_bytes: u32, prompt_bytes: usize, weights: &ScorerWeights) -> f32 {
    let share = cached_bytes as f32 / prompt_bytes.max(1) as f32;
    let length = (cached_bytes as f32 / BYTES_PER_TOKEN / weights.prefix_length_tokens).min(1.0);
    weights.prefix_length * length * length + (1.0 - weights.prefix_length) * share.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;

    /// Scores without what chance adds, by these weights.
    fn scores(candidates: &[Candidate], weights: ScorerWeights) -> Vec<f32> {
        let mut candidates = candidates.to_vec();
        judge(&mut candidates, 4096, &weights);
        candidates.iter().map(|it| (it.score * 20.0).floor() / 20.0).collect()
    }

    fn loaded(waiting: f32, kv: f32) -> Candidate {
        Candidate { load: Load { waiting, kv, ..Load::default() }, ..Candidate::default() }
    }

    #[test]
    fn queues_are_scored_between_the_shortest_and_the_longest() {
        let queue = ScorerWeights { queue: 2.0, ..ScorerWeights::default() };
        assert_eq!(scores(&[loaded(0.0, 0.0), loaded(5.0, 0.0), loaded(10.0, 0.0)], queue), [2.0, 1.0, 0.0]);
        assert_eq!(scores(&[loaded(7.0, 0.0), loaded(7.0, 0.0)], queue), [2.0, 2.0]);
    }

    #[test]
    fn weights_add_up() {
        let weights = ScorerWeights { queue: 1.0, kv_cache: 2.0, ..ScorerWeights::default() };
        assert_eq!(scores(&[loaded(0.0, 0.75), loaded(4.0, 0.0)], weights), [1.5, 2.0]);
        let aware = ScorerWeights { load_aware: 1.0, load_threshold: 128.0, ..ScorerWeights::default() };
        assert_eq!(scores(&[loaded(0.0, 0.0), loaded(64.0, 0.0), loaded(500.0, 0.0)], aware), [0.5, 0.25, 0.0]);
    }

    #[test]
    fn a_prefix_counts_by_its_share_and_its_length() {
        let cached = |likely| Candidate { likely, ..Candidate::default() };
        let weights = ScorerWeights { prefix: 1.0, prefix_length_tokens: 8192.0, ..ScorerWeights::default() };
        assert_eq!(scores(&[cached(4096), cached(1024), cached(0)], weights), [1.0, 0.25, 0.0]);
        let by_length = ScorerWeights { prefix_length: 1.0, prefix_length_tokens: 512.0, ..weights };
        assert_eq!(scores(&[cached(4096), cached(1024)], by_length), [1.0, 0.25]);
    }

    #[test]
    fn new_prompts_count_only_where_nobody_has_the_prompt() {
        let given = |new_prompts, likely| Candidate { new_prompts, likely, ..Candidate::default() };
        let weights = ScorerWeights { no_hit: 2.0, ..ScorerWeights::default() };
        assert_eq!(scores(&[given(-1.0, 0), given(1.0, 0)], weights), [2.0, 0.0]);
        assert_eq!(scores(&[given(-1.0, 0), given(1.0, 64)], weights), [1.0, 1.0]);
    }
}
