//! Pauses after failures in a row.

use std::time::{Duration, Instant};

/// Failures in a row after which nothing is asked for a while.
const MAX_FAILURES: u32 = 3;
/// The first pause, and the longest one, after doubling.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Whether questions are asked.
#[derive(Debug, Default)]
pub(super) struct StandBack {
    failures: u32,
    backoff: Duration,
    until: Option<Instant>,
}

impl StandBack {
    /// Whether a question may be asked: after a pause one, and no other until that has ended or the pause is over again.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        match self.until {
            Some(until) if now < until => false,
            Some(_) => {
                self.until = Some(now + self.backoff);
                true
            }
            None => true,
        }
    }

    /// A question has ended.
    pub(super) fn ended(&mut self, has_succeeded: bool, now: Instant) {
        if has_succeeded { self.succeeded() } else { self.failed(now) }
    }

    fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= MAX_FAILURES {
            self.backoff = (self.backoff * 2).clamp(SHORTEST_BACKOFF, LONGEST_BACKOFF);
            self.until = Some(now + self.backoff);
        }
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_end_questions_for_longer_and_longer() {
        let (mut state, start) = (StandBack::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        state.failed(at(0));
        state.failed(at(0));
        assert!(state.may_ask(at(0)));
        state.failed(at(0));
        assert!(!state.may_ask(at(0)));
        assert!(state.may_ask(at(1)) && !state.may_ask(at(1)), "one question after the pause");
        state.failed(at(1));
        assert!(!state.may_ask(at(2)) && state.may_ask(at(3)));
        (0..20).for_each(|_| state.failed(at(3)));
        assert!(!state.may_ask(at(32)) && state.may_ask(at(33)));
        state.succeeded();
        assert!(state.may_ask(at(33)) && state.may_ask(at(33)));
    }
}
