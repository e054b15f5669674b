//! Histograms of durations whose bounds do not double.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use pailou_telemetry::metric_table::Distribution;

/// Microseconds: 50 µs to 250 ms.
const SHORT: [u64; 12] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000];
/// Microseconds: the bounds that OpenTelemetry advises for HTTP, 5 ms to 10 s, and Envoy's, 0.5 ms to 1 h.
const LONG: [u64; 22] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    75_000,
    100_000,
    250_000,
    500_000,
    750_000,
    1_000_000,
    2_500_000,
    5_000_000,
    7_500_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// Durations of the gateway's own work.
#[derive(Debug)]
pub(super) struct WorkTimings(Timings<{ SHORT.len() }>);

/// Durations of requests.
pub(crate) struct RequestTimings(Timings<{ LONG.len() }>);

impl Default for WorkTimings {
    fn default() -> Self {
        Self(Timings::new(&SHORT))
    }
}

impl WorkTimings {
    /// Counts one.
    pub(super) fn observe(&self, duration: Duration) {
        self.0.observe(duration);
    }

    /// In seconds.
    pub(super) fn distribution(&self) -> Distribution {
        self.0.distribution()
    }
}

impl Default for RequestTimings {
    fn default() -> Self {
        Self(Timings::new(&LONG))
    }
}

impl RequestTimings {
    /// Counts one.
    pub(crate) fn observe(&self, duration: Duration) {
        self.0.observe(duration);
    }

    /// In seconds.
    pub(crate) fn distribution(&self) -> Distribution {
        self.0.distribution()
    }
}

#[derive(Debug)]
struct Timings<const N: usize> {
    /// Microseconds.
    bounds: &'static [u64; N],
    nanos: AtomicU64,
    within: [AtomicU64; N],
    beyond: AtomicU64,
}

impl<const N: usize> Timings<N> {
    fn new(bounds: &'static [u64; N]) -> Self {
        let within = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, nanos: AtomicU64::new(0), within, beyond: AtomicU64::new(0) }
    }

    fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
        let bucket = self.bounds.partition_point(|bound| bound * 1_000 < nanos);
        self.within.get(bucket).unwrap_or(&self.beyond).fetch_add(1, Relaxed);
    }

    fn distribution(&self) -> Distribution {
        let within = self.bounds.iter().zip(&self.within).map(|(bound, count)| (*bound as f64 / 1e6, count.load(Relaxed)));
        let buckets: Vec<_> = within.chain([(f64::INFINITY, self.beyond.load(Relaxed))]).collect();
        let sum = self.nanos.load(Relaxed) as f64 / 1e9;
        Distribution { sum, count: buckets.iter().map(|(_, count)| count).sum(), buckets }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_is_counted_in_the_first_bucket_that_holds_it(shift in 0_u32..64, nanos in any::<u64>()) {
            let duration = Duration::from_nanos(nanos >> shift);
            let timings = RequestTimings::default();
            timings.observe(duration);
            let all = timings.distribution();
            let expected = all.buckets.iter().position(|(bound, _)| duration.as_nanos() as f64 <= (bound * 1e9).round());
            prop_assert_eq!(all.buckets.iter().position(|(_, count)| *count == 1), expected);
            prop_assert_eq!(all.count, 1);
        }
    }

    #[test]
    fn bounds_belong_to_their_bucket() {
        let timings = WorkTimings::default();
        for nanos in [0, 50_000, 50_001, 250_000_000, 250_000_001] {
            timings.observe(Duration::from_nanos(nanos));
        }
        let counts: Vec<_> = timings.distribution().buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
