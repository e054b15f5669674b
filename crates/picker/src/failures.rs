//! Endpoints that have just failed are tried last for a while.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Time for which an endpoint comes last after one failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(2);
/// The longest time for which an endpoint comes last.
const LONGEST: Duration = Duration::from_secs(30);

/// An endpoint's failures since it last answered.
pub(crate) struct Failures {
    epoch: Instant,
    in_a_row: AtomicU32,
    /// Milliseconds after `epoch`.
    until: AtomicU64,
}

impl Default for Failures {
    fn default() -> Self {
        Self { epoch: Instant::now(), in_a_row: AtomicU32::new(0), until: AtomicU64::new(0) }
    }
}

impl Failures {
    /// Counts a failure. Those that come while the endpoint is already put last are of the same fault and count once.
    pub(crate) fn record(&self, now: Instant) {
        if self.is_last(now) {
            return;
        }
        let before = self.in_a_row.fetch_add(1, Relaxed).min(8);
        let pause = (FIRST * (1 << before)).min(LONGEST);
        self.until.store(self.millis(now + pause), Relaxed);
    }

    /// The endpoint answered.
    pub(crate) fn clear(&self) {
        // Read first: this runs for every request, and nearly always there is nothing to clear.
        if self.in_a_row.load(Relaxed) != 0 {
            self.in_a_row.store(0, Relaxed);
            self.until.store(0, Relaxed);
        }
    }

    /// Whether the endpoint comes last now.
    pub(crate) fn is_last(&self, now: Instant) -> bool {
        let until = self.until.load(Relaxed);
        until != 0 && self.millis(now) < until
    }

    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(failures: &Failures, now: Instant) -> u64 {
        (0..60).find(|seconds| !failures.is_last(now + Duration::from_secs(*seconds))).unwrap()
    }

    #[test]
    fn pauses_double_up_to_thirty_seconds_and_end_with_an_answer() {
        let failures = Failures::default();
        let mut now = failures.epoch;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            failures.record(now);
            pauses.push(pause(&failures, now));
            now += Duration::from_secs(60);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30]);
        failures.record(now);
        failures.clear();
        assert!(!failures.is_last(now));
        failures.record(now);
        assert_eq!(pause(&failures, now), 2);
    }

    #[test]
    fn requests_that_fail_together_count_once() {
        let failures = Failures::default();
        let now = failures.epoch;
        for _ in 0..100 {
            failures.record(now);
        }
        assert_eq!(pause(&failures, now), 2);
    }
}
