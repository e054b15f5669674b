//! Failures of an endpoint, and how long they put it last.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Time for which an endpoint comes last after one failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(2);
/// The longest time for which an endpoint comes last.
const LONGEST: Duration = Duration::from_secs(30);

/// Failures of an endpoint since it last fared well: the one memory of them, for all clusters that the endpoint is in.
///
/// Two readers share it. Passive health checks read how many failures followed each other ([`Failures::count`]): a cluster whose
/// policy has a threshold ejects the endpoint from that cluster. The picker reads whether the endpoint comes last
/// (`is_last`): one that did not take a request backs off by itself, whatever the policies say. A response's head
/// ends the first ([`Failures::answered`]), content ends both (`clear`): a stream that begins may still break off.
pub struct Failures {
    epoch: Instant,
    errors: AtomicU32,
    gateway_errors: AtomicU32,
    /// Requests in a row that it did not take, as far as each lengthened the pause.
    refusals: AtomicU32,
    /// End of the pause, in milliseconds after `epoch`.
    until: AtomicU64,
}

/// Failures that followed each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailuresInARow {
    /// Of any kind.
    pub errors: u32,
    /// The last of them, as far as they were 502, 503, 504 or no response at all.
    pub gateway_errors: u32,
}

impl Default for Failures {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Failures {
    /// No failures, of an endpoint known from this moment on.
    pub(crate) fn since(epoch: Instant) -> Self {
        let zero = || AtomicU32::new(0);
        Self { epoch, errors: zero(), gateway_errors: zero(), refusals: zero(), until: AtomicU64::new(0) }
    }

    /// Counts a failure; `is_gateway_error` where it is no 5xx of the server's own.
    pub fn count(&self, is_gateway_error: bool) -> FailuresInARow {
        let gateway_errors = if is_gateway_error {
            self.gateway_errors.fetch_add(1, Relaxed).saturating_add(1)
        } else {
            self.gateway_errors.store(0, Relaxed);
            0
        };
        FailuresInARow { errors: self.errors.fetch_add(1, Relaxed).saturating_add(1), gateway_errors }
    }

    /// The endpoint answered. Writes only where there is something to forget: the happy path shares no dirty cache line.
    pub fn answered(&self) {
        for counter in [&self.errors, &self.gateway_errors] {
            if counter.load(Relaxed) != 0 {
                counter.store(0, Relaxed);
            }
        }
    }

    /// The endpoint did not take a request, and comes last from now on. Failures that come while it does are of the same fault,
    /// and lengthen nothing.
    pub(crate) fn put_last(&self, now: Instant) {
        if self.is_last(now) {
            return;
        }
        let before = self.refusals.fetch_add(1, Relaxed).min(8);
        let pause = (FIRST * (1 << before)).min(LONGEST);
        self.until.store(self.millis(now + pause), Relaxed);
    }

    /// Content came from the endpoint.
    pub(crate) fn clear(&self) {
        self.answered();
        // Read first: this runs for every request, and nearly always there is nothing to clear.
        if self.refusals.load(Relaxed) != 0 {
            self.refusals.store(0, Relaxed);
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

impl std::fmt::Debug for Failures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Failures").field("errors", &self.errors).field("refusals", &self.refusals).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(failures: &Failures, now: Instant) -> u64 {
        (0..60).find(|seconds| !failures.is_last(now + Duration::from_secs(*seconds))).unwrap()
    }

    #[test]
    fn pauses_double_up_to_thirty_seconds_and_end_with_content() {
        let failures = Failures::default();
        let mut now = failures.epoch;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            failures.put_last(now);
            pauses.push(pause(&failures, now));
            now += Duration::from_secs(60);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30]);
        failures.put_last(now);
        failures.clear();
        assert!(!failures.is_last(now));
        failures.put_last(now);
        assert_eq!(pause(&failures, now), 2);
    }

    #[test]
    fn requests_that_fail_together_count_once() {
        let failures = Failures::default();
        let now = failures.epoch;
        for _ in 0..100 {
            failures.put_last(now);
        }
        assert_eq!(pause(&failures, now), 2);
    }

    #[test]
    fn a_head_ends_the_row_of_failures_and_content_the_pause_too() {
        let failures = Failures::default();
        let now = failures.epoch;
        failures.put_last(now);
        assert_eq!(failures.count(true), FailuresInARow { errors: 1, gateway_errors: 1 });
        assert_eq!(failures.count(false), FailuresInARow { errors: 2, gateway_errors: 0 });
        failures.answered();
        assert!(failures.is_last(now));
        assert_eq!(failures.count(true), FailuresInARow { errors: 1, gateway_errors: 1 });
        failures.clear();
        assert!(!failures.is_last(now));
        assert_eq!(failures.count(true).errors, 1);
    }
}
