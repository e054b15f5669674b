//! Passive health: an endpoint that fails too often in a row is ejected for a while (Envoy's outlier detection).

use std::time::{Duration, Instant};

use pailou_snapshot::PassiveCheck;

use super::EndpointState;

/// The longest ejection, whatever its count, unless the base itself is longer (Envoy's `max_ejection_time`).
const LONGEST_EJECTION: Duration = Duration::from_secs(300);

/// How an attempt fared, as seen by passive health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// A response that is no 5xx. One of 429 is: as to Envoy's outlier detection, an endpoint that has enough to do works.
    Success,
    /// The endpoint had no part in how the attempt ended: the client or a limit of the gateway ended it. Neither a success nor a failure.
    Unknown,
    /// A 5xx other than 502, 503 and 504.
    ServerError,
    /// 502, 503 or 504, or no response in time.
    GatewayError,
    /// No connection could be made.
    ConnectFailure,
    /// The connection or stream broke off before the response's head.
    Reset,
}

impl AttemptOutcome {
    /// The outcome that a response's status stands for.
    pub fn of(status: http::StatusCode) -> Self {
        match status.as_u16() {
            502..=504 => Self::GatewayError,
            500..=599 => Self::ServerError,
            _ => Self::Success,
        }
    }
}

/// An endpoint's ejections.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    /// When it returns; `None` while it is not ejected.
    pub(super) until: Option<Instant>,
    /// When it last returned.
    returned: Option<Instant>,
    /// How many ejections the next one's length counts, less one.
    times: u32,
}

impl Ejection {
    /// Starts an ejection. It ends at a multiple of the interval, which is when returns are considered.
    pub(super) fn start(&mut self, check: &PassiveCheck, now: Instant) {
        let interval = check.interval.max(Duration::from_millis(1));
        if let Some(returned) = self.returned {
            // Every interval spent well since the last return takes one ejection off the count.
            let quiet = now.saturating_duration_since(returned).as_nanos() / interval.as_nanos();
            self.times = self.times.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX));
        }
        self.times = self.times.saturating_add(1);
        let length = check.base_ejection.saturating_mul(self.times).min(LONGEST_EJECTION.max(check.base_ejection));
        let intervals = length.as_nanos().div_ceil(interval.as_nanos()).max(1);
        let length = interval.saturating_mul(u32::try_from(intervals).unwrap_or(u32::MAX));
        self.until = now.checked_add(length).or_else(|| now.checked_add(LONGEST_EJECTION));
    }

    /// Whether it is ejected; an ejection that has run out ends here.
    pub(super) fn holds(&mut self, now: Instant) -> bool {
        match self.until {
            Some(until) if until <= now => {
                self.until = None;
                self.returned = Some(until);
                false
            }
            until => until.is_some(),
        }
    }

    /// Ends an ejection for other reasons than time.
    pub(super) fn lift(&mut self) {
        self.until = None;
    }
}

impl EndpointState {
    /// Counts a failure; true where a threshold is reached. It may have been passed: another cluster of the same pool, whose
    /// threshold is higher, counts in the same row.
    pub(super) fn fails_too_often(&self, check: &PassiveCheck, outcome: AttemptOutcome) -> bool {
        let row = self.failures().count(outcome != AttemptOutcome::ServerError);
        let reaches = |threshold: Option<u32>, count: u32| count > 0 && threshold.is_some_and(|threshold| count >= threshold);
        reaches(check.consecutive_5xx, row.errors) || reaches(check.consecutive_gateway_errors, row.gateway_errors)
    }
}

/// Whether one more of `total` may be ejected, with `ejected` out already. One always may.
pub(super) fn may_eject(check: &PassiveCheck, ejected: usize, total: usize) -> bool {
    ejected == 0 || (ejected + 1) * 100 <= usize::from(check.max_ejection_percent) * total
}
