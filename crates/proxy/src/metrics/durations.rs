//! A histogram of durations.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use pailou_telemetry::metric_table::Distribution;

/// Upper bounds of the buckets: 1.25 ms, and twice the one before, up to 655 s. What took longer has a bucket of its own. All bounds that
/// OpenTelemetry advises for durations of model calls, 10 ms to 81.92 s, are among them.
pub(super) const BOUNDS: usize = 20;
const FIRST_NANOS: u64 = 1_250_000;

/// Durations in buckets that double. There may be one for each of thousands of rules, and each request counts in it: 176 bytes in one
/// place, without a lock.
#[derive(Default)]
pub(super) struct Durations {
    nanos: AtomicU64,
    buckets: [AtomicU64; BOUNDS + 1],
}

impl Durations {
    /// Counts one.
    pub(super) fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
        self.buckets[bucket(nanos)].fetch_add(1, Relaxed);
    }
}

/// The first bucket whose bound is not below it.
pub(super) fn bucket(nanos: u64) -> usize {
    let begun = nanos.saturating_sub(1) / FIRST_NANOS;
    ((u64::BITS - begun.leading_zeros()) as usize).min(BOUNDS)
}

/// The sum of several histograms, in seconds.
pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Durations>) -> Distribution {
    let mut sum = 0.0;
    let mut bound = FIRST_NANOS as f64 / 1e9;
    let mut buckets = vec![(f64::INFINITY, 0); BOUNDS + 1];
    for bucket in &mut buckets[..BOUNDS] {
        bucket.0 = bound;
        bound *= 2.0;
    }
    for one in all {
        sum += one.nanos.load(Relaxed) as f64 / 1e9;
        for (bucket, counted) in buckets.iter_mut().zip(&one.buckets) {
            bucket.1 += counted.load(Relaxed);
        }
    }
    Distribution { sum, count: buckets.iter().map(|bucket| bucket.1).sum(), buckets }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As the buckets of Prometheus are defined: the first whose upper bound is not exceeded.
        #[test]
        fn a_duration_is_counted_in_the_first_bucket_that_holds_it(shift in 0u32..64, nanos in any::<u64>()) {
            let duration = Duration::from_nanos(nanos >> shift);
            let durations = Durations::default();
            durations.observe(duration);
            let sum = sum([&durations].into_iter());
            let expected = sum.buckets.iter().position(|(bound, _)| duration.as_nanos() as f64 <= (bound * 1e9).round()).expect("the last");
            prop_assert_eq!(sum.buckets.iter().position(|(_, count)| *count == 1), Some(expected));
            prop_assert_eq!(sum.count, 1);
        }
    }

    #[test]
    fn bounds_belong_to_their_bucket() {
        for (nanos, expected) in [(0, 0), (1_250_000, 0), (1_250_001, 1), (2_500_000, 1), (2_500_001, 2), (u64::MAX, BOUNDS)] {
            assert_eq!(bucket(nanos), expected, "{nanos}");
        }
    }
}
