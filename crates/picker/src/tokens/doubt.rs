//! Models whose engines count other tokens than their tokenizers give.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Mismatches, without a match in between, after which a model's answers are doubted.
const MAX_MISMATCHES: u32 = 3;
/// How long at first, and at most, after doubling.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);
/// Most models that are remembered.
const MAX_MODELS: usize = 256;

/// Mismatches by model.
#[derive(Debug, Default)]
pub(super) struct Doubts(HashMap<u64, Doubt>);

#[derive(Debug, Default)]
struct Doubt {
    mismatches: u32,
    backoff: Duration,
    until: Option<Instant>,
}

impl Doubts {
    pub(super) fn is_doubted(&self, model: u64, now: Instant) -> bool {
        self.0.get(&model).and_then(|doubt| doubt.until).is_some_and(|until| now < until)
    }

    /// Takes the comparison of one answer.
    pub(super) fn verified(&mut self, model: u64, agrees: bool, now: Instant) {
        if agrees {
            self.0.remove(&model);
            return;
        }
        if self.0.len() >= MAX_MODELS && !self.0.contains_key(&model) {
            self.0.retain(|_, doubt| doubt.until.is_some_and(|until| now < until));
            if self.0.len() >= MAX_MODELS {
                return;
            }
        }
        let doubt = self.0.entry(model).or_default();
        doubt.mismatches += 1;
        if doubt.mismatches >= MAX_MISMATCHES {
            doubt.mismatches = 0;
            doubt.backoff = (doubt.backoff * 2).clamp(SHORTEST_BACKOFF, LONGEST_BACKOFF);
            doubt.until = Some(now + doubt.backoff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_doubted_after_mismatches_in_a_row_and_for_a_while() {
        let (mut doubts, start) = (Doubts::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        doubts.verified(1, false, at(0));
        doubts.verified(1, false, at(0));
        doubts.verified(1, true, at(0));
        doubts.verified(1, false, at(0));
        assert!(!doubts.is_doubted(1, at(0)));
        (0..2).for_each(|_| doubts.verified(1, false, at(0)));
        assert!(doubts.is_doubted(1, at(59)) && !doubts.is_doubted(2, at(0)) && !doubts.is_doubted(1, at(60)));
        (0..3).for_each(|_| doubts.verified(1, false, at(60)));
        assert!(doubts.is_doubted(1, at(179)) && !doubts.is_doubted(1, at(180)));
    }

    #[test]
    fn models_are_bounded() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        (0..2000).for_each(|model| doubts.verified(model / 3, false, now));
        assert_eq!(doubts.0.len(), MAX_MODELS);
    }
}
