//! Counts of what became of waiting requests.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use pailou_telemetry::metric_table::Distribution;

/// Priorities that are counted apart; the others are counted together.
const MAX_PRIORITIES: usize = 64;
/// Upper bounds of a wait's buckets: 1 ms, and twice the one before, up to 524 s. What took longer has a bucket of its own.
const WAIT_BUCKETS: usize = 21;
/// Dispatches by whose times the rate is known.
const RECENT: usize = 64;
/// Those that are older do not count: the queue may have been empty in between.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Bounds of the time after which a client may come again.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The same while no rate is known.
const UNKNOWN_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Outcome of a request that waited, or was to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueOutcome {
    /// It was sent to an endpoint.
    Dispatched,
    /// There was no room for it.
    Full,
    /// Its time ran out.
    Expired,
    /// Its time ran out, or there was no room for it, while the pool had no endpoint.
    NoEndpoints,
    /// The time of the request as a whole ran out.
    TimedOut,
    /// Its client left.
    ClientGone,
    /// The process ended.
    ShuttingDown,
    /// It was sent, and broken off for a more important one that waited. Counted beside its dispatch.
    Evicted,
}

impl QueueOutcome {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Dispatched,
        Self::Full,
        Self::Expired,
        Self::NoEndpoints,
        Self::TimedOut,
        Self::ClientGone,
        Self::ShuttingDown,
        Self::Evicted,
    ];

    /// Its name in metrics: that of a refusal is the reason that clients get.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dispatched => "dispatched",
            Self::Full => "rejected-saturated",
            Self::Expired => "rejected-ttl-expired",
            Self::NoEndpoints => "rejected-no-endpoints",
            Self::TimedOut => "rejected-request-timeout",
            Self::ClientGone => "rejected-context-cancelled",
            Self::ShuttingDown => "rejected-shutting-down",
            Self::Evicted => "evicted-priority",
        }
    }
}

/// Counts of one priority's requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueCounts {
    /// In the order of [`QueueOutcome::ALL`].
    pub outcomes: [u64; 8],
    /// Waits of those that were dispatched: seconds of all together.
    pub wait_seconds: f64,
    /// The same by length; the first bucket ends at 1 ms, each other at twice the one before, and the last has no end.
    pub waits: [u64; 21],
}

impl QueueCounts {
    /// The waits as a histogram, in seconds.
    pub fn distribution(&self) -> Distribution {
        let bound = |place: usize| if place + 1 == WAIT_BUCKETS { f64::INFINITY } else { 0.001 * (1u64 << place) as f64 };
        let buckets = self.waits.iter().enumerate().map(|(place, count)| (bound(place), *count)).collect();
        Distribution { sum: self.wait_seconds, count: self.waits.iter().sum(), buckets }
    }
}

/// All of a pool's counts.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    of: BTreeMap<i32, QueueCounts>,
    others: Option<QueueCounts>,
    dispatches: VecDeque<Instant>,
}

impl Statistics {
    /// Counts a request that ended its wait so.
    pub(super) fn count(&mut self, priority: i32, outcome: QueueOutcome, waited: Duration, now: Instant) {
        let counts = if self.of.len() < MAX_PRIORITIES || self.of.contains_key(&priority) {
            self.of.entry(priority).or_default()
        } else {
            self.others.get_or_insert_default()
        };
        counts.outcomes[outcome as usize] += 1;
        if outcome == QueueOutcome::Dispatched {
            counts.wait_seconds += waited.as_secs_f64();
            counts.waits[bucket(waited)] += 1;
            if self.dispatches.len() >= RECENT {
                self.dispatches.pop_front();
            }
            self.dispatches.push_back(now);
        }
    }

    /// When a client may come again that has so many requests before it: as long as it takes to send them at the present rate, from 1 s to
    /// 60 s; 5 s where that is not known, as after a minute without dispatches.
    pub(super) fn retry_after(&self, ahead: u64, now: Instant) -> Duration {
        let (least, most) = RETRY_AFTER;
        let is_old = |at: &&Instant| now.saturating_duration_since(**at) > MAX_AGE;
        let mut recent = self.dispatches.iter().skip_while(is_old);
        let Some(first) = recent.next() else { return UNKNOWN_RETRY_AFTER };
        let others = recent.count();
        if others == 0 {
            return UNKNOWN_RETRY_AFTER;
        }
        let each = now.saturating_duration_since(*first).as_secs_f64() / (others + 1) as f64;
        Duration::try_from_secs_f64(each * ahead as f64).unwrap_or(most).clamp(least, most)
    }

    /// Counts by priority, the lowest first; `None` stands for those that are not counted apart.
    pub(super) fn all(&self) -> impl Iterator<Item = (Option<i32>, &QueueCounts)> {
        let apart = self.of.iter().map(|(priority, counts)| (Some(*priority), counts));
        apart.chain(self.others.iter().map(|counts| (None, counts)))
    }
}

/// The first bucket whose bound is not below it.
fn bucket(waited: Duration) -> usize {
    let millis = waited.as_nanos().div_ceil(1_000_000).max(1) - 1;
    ((u128::BITS - millis.leading_zeros()) as usize).min(WAIT_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_counted_in_the_first_bucket_that_holds_it() {
        let cases = [(0, 0), (1_000, 0), (1_001, 1), (2_000, 1), (2_001, 2), (524_288_000, 19), (524_288_001, 20), (u64::MAX, 20)];
        for (micros, expected) in cases {
            assert_eq!(bucket(Duration::from_micros(micros)), expected, "{micros} us");
        }
    }

    #[test]
    fn a_client_comes_again_when_those_before_it_have_gone() {
        let (mut statistics, start) = (Statistics::default(), Instant::now());
        assert_eq!(statistics.retry_after(1, start), Duration::from_secs(5), "nothing is known");
        for index in 0..100 {
            statistics.count(0, QueueOutcome::Dispatched, Duration::ZERO, start + Duration::from_millis(100 * index));
        }
        let now = start + Duration::from_millis(9_900);
        assert_eq!(statistics.retry_after(2, now), Duration::from_secs(1));
        assert!((9.5..10.5).contains(&statistics.retry_after(100, now).as_secs_f64()));
        assert_eq!(statistics.retry_after(5000, now), Duration::from_secs(60));
        let long_after = now + Duration::from_secs(3600);
        assert_eq!(statistics.retry_after(1, long_after), Duration::from_secs(5), "nothing is known any more");
        for index in 0..10 {
            statistics.count(0, QueueOutcome::Dispatched, Duration::ZERO, long_after + Duration::from_millis(100 * index));
        }
        let after = statistics.retry_after(100, long_after + Duration::from_millis(900));
        assert!((8.5..10.5).contains(&after.as_secs_f64()), "{after:?}, without the hour before");
    }

    #[test]
    fn priorities_beyond_the_bound_are_counted_together() {
        let (mut statistics, now) = (Statistics::default(), Instant::now());
        for priority in 0..100 {
            statistics.count(priority, QueueOutcome::Full, Duration::ZERO, now);
        }
        let all: Vec<_> = statistics.all().collect();
        assert_eq!(all.len(), 65);
        assert_eq!((all[64].0, all[64].1.outcomes[1]), (None, 36));
    }
}
