//! Models whose engines count other tokens than their tokenizers give.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Mismatches, without a match in between, after which answers are doubted that never matched.
const MIN_MISMATCHES: u32 = 3;
/// Most matches that count: each demands one mismatch more. A few odd requests of one client say little against many of others.
const MAX_MATCHES: u32 = 29;
/// How long at first, and at most, after doubling.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);
/// Most keys that are remembered.
const MAX_KEYS: usize = 512;

/// Mismatches by key: a model, and the kind of its questions.
#[derive(Debug, Default)]
pub(super) struct Doubts(HashMap<u64, Doubt>);

#[derive(Debug, Default)]
struct Doubt {
    matches: u32,
    mismatches: u32,
    backoff: Duration,
    until: Option<Instant>,
}

impl Doubts {
    pub(super) fn is_doubted(&self, key: u64, now: Instant) -> bool {
        self.0.get(&key).is_some_and(|doubt| doubt.is_there(now))
    }

    /// Takes the comparison of one answer. Gives whether a doubt begins.
    pub(super) fn verified(&mut self, key: u64, agrees: bool, now: Instant) -> bool {
        if self.0.len() >= MAX_KEYS && !self.0.contains_key(&key) {
            let least = |doubt: &Doubt| (doubt.is_there(now), doubt.mismatches, doubt.matches);
            let least = self.0.iter().min_by_key(|(_, doubt)| least(doubt)).map(|(key, _)| *key);
            least.and_then(|key| self.0.remove(&key));
        }
        let doubt = self.0.entry(key).or_default();
        if agrees {
            *doubt = Doubt { matches: (doubt.matches + 1).min(MAX_MATCHES), ..Doubt::default() };
            return false;
        }
        // Requests that were under way when it began say nothing new.
        if doubt.is_there(now) {
            return false;
        }
        doubt.mismatches += 1;
        if doubt.mismatches < MIN_MISMATCHES + doubt.matches {
            return false;
        }
        (doubt.matches, doubt.mismatches) = (0, 0);
        doubt.backoff = (doubt.backoff * 2).clamp(SHORTEST_BACKOFF, LONGEST_BACKOFF);
        doubt.until = Some(now + doubt.backoff);
        true
    }
}

impl Doubt {
    fn is_there(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_doubted_after_mismatches_in_a_row_and_for_a_while() {
        let (mut doubts, start) = (Doubts::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let begins = [0; 3].map(|_| doubts.verified(1, false, at(0)));
        assert_eq!(begins, [false, false, true]);
        assert!(doubts.is_doubted(1, at(59)) && !doubts.is_doubted(2, at(0)) && !doubts.is_doubted(1, at(60)));
        (0..3).for_each(|_| _ = doubts.verified(1, false, at(60)));
        assert!(doubts.is_doubted(1, at(179)) && !doubts.is_doubted(1, at(180)));
        doubts.verified(1, true, at(61));
        assert!(!doubts.is_doubted(1, at(61)), "a match ends it");
    }

    /// Those of a burst had made its backoff an hour at once.
    #[test]
    fn mismatches_of_requests_under_way_leave_a_doubt_as_long_as_it_is() {
        let (mut doubts, start) = (Doubts::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let begins = (0..100).filter(|_| doubts.verified(1, false, at(0))).count();
        assert_eq!((begins, doubts.is_doubted(1, at(59)), doubts.is_doubted(1, at(60))), (1, true, false));
        (0..100).for_each(|_| _ = doubts.verified(1, false, at(60)));
        assert_eq!((doubts.is_doubted(1, at(179)), doubts.is_doubted(1, at(180))), (true, false), "twice as long");
    }

    /// Three odd requests of one client had cost all others their tokens for a minute.
    #[test]
    fn a_model_that_matched_is_doubted_after_more_mismatches() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        (0..100).for_each(|_| _ = doubts.verified(1, true, now));
        (1..MIN_MISMATCHES + MAX_MATCHES).for_each(|_| assert!(!doubts.verified(1, false, now)));
        assert!(doubts.verified(1, false, now) && doubts.is_doubted(1, now));
    }

    #[test]
    fn keys_are_bounded_and_those_in_doubt_stay() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        (0..3).for_each(|_| _ = doubts.verified(u64::MAX, false, now));
        (0..5000).for_each(|key| _ = doubts.verified(key, key % 2 == 0, now));
        assert!(doubts.0.len() == MAX_KEYS && doubts.is_doubted(u64::MAX, now));
        (0..3).for_each(|_| _ = doubts.verified(9999, false, now));
        assert!(doubts.is_doubted(9999, now), "another finds room");
    }
}
