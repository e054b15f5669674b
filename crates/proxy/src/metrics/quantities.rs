//! A histogram of quantities: tokens, bytes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pailou_telemetry::metric_table::Distribution;

/// Upper bounds of the buckets: 1, and four times the one before, up to 67,108,864, as OpenTelemetry advises for tokens. What is more has a
/// bucket of its own.
const BOUNDS: usize = 14;

/// Quantities in buckets that grow fourfold.
#[derive(Default)]
pub(super) struct Quantities {
    sum: AtomicU64,
    buckets: [AtomicU64; BOUNDS + 1],
}

impl Quantities {
    /// Counts one.
    pub(super) fn observe(&self, quantity: u64) {
        self.sum.fetch_add(quantity, Relaxed);
        self.buckets[bucket(quantity)].fetch_add(1, Relaxed);
    }

    pub(super) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    pub(super) fn distribution(&self) -> Distribution {
        let bound = |at: usize| if at == BOUNDS { f64::INFINITY } else { (1_u64 << (2 * at)) as f64 };
        let buckets: Vec<_> = self.buckets.iter().enumerate().map(|(at, count)| (bound(at), count.load(Relaxed))).collect();
        Distribution { sum: self.sum() as f64, count: buckets.iter().map(|(_, count)| count).sum(), buckets }
    }
}

/// The first bucket whose bound is not below it.
fn bucket(quantity: u64) -> usize {
    let bits = u64::BITS - quantity.saturating_sub(1).leading_zeros();
    (bits.div_ceil(2) as usize).min(BOUNDS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quantity_is_counted_in_the_first_bucket_that_holds_it(shift in 0_u32..64, quantity in any::<u64>()) {
            let quantities = Quantities::default();
            quantities.observe(quantity >> shift);
            let all = quantities.distribution();
            let expected = all.buckets.iter().position(|(bound, _)| (quantity >> shift) as f64 <= *bound);
            prop_assert_eq!(all.buckets.iter().position(|(_, count)| *count == 1), expected);
            prop_assert_eq!(all.count, 1);
        }
    }

    #[test]
    fn bounds_belong_to_their_bucket() {
        for (quantity, expected) in [(0, 0), (1, 0), (2, 1), (4, 1), (5, 2), (67_108_864, 13), (67_108_865, 14), (u64::MAX, 14)] {
            assert_eq!(bucket(quantity), expected, "{quantity}");
        }
    }
}
