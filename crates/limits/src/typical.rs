//! Size of the last responses, learned: their cost, or their output tokens where the cost is computed of those.

/// Share of responses that cost less, in percent.
const QUANTILE: u64 = 90;
/// Cost before anything was learned: a short answer.
const FIRST: u64 = 256;

/// Cost that any response may be expected to have, however little the last ones cost.
const ALWAYS_PLAUSIBLE: u64 = 4096;
/// Share of itself, one in so many, by which the largest cost is forgotten with each response.
const FORGETTING: u64 = 64;

/// Costs of a rule's responses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Typical {
    /// An estimate of the 90th percentile of costs. Each cost moves it by a share of itself, up nine times as far as down, so that nine in
    /// ten lie below in the long run.
    high: u64,
    /// The largest of late.
    largest: u64,
}

impl Default for Typical {
    fn default() -> Self {
        Self { high: FIRST, largest: 0 }
    }
}

impl Typical {
    /// A cost that most responses stay below.
    pub(crate) fn get(self) -> u64 {
        self.high
    }

    /// A cost that a response hardly ever has: four times the largest.
    pub(crate) fn plausible(self) -> u64 {
        self.largest.saturating_mul(4).max(ALWAYS_PLAUSIBLE)
    }

    /// Learns a cost.
    pub(crate) fn learn(&mut self, cost: u64) {
        let (high, step) = (self.high, (self.high / 20).max(1));
        self.high = match cost > high {
            true => high.saturating_add(step.saturating_mul(QUANTILE) / 50).min(cost),
            false => high.saturating_sub((step * (100 - QUANTILE) / 50).max(1)).max(cost),
        };
        self.largest = cost.max(self.largest - self.largest.div_ceil(FORGETTING));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_settles_near_the_ninetieth_percentile() {
        let mut typical = Typical::default();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            typical.learn(random.u64(0..1_000));
        }
        assert!((800..=980).contains(&typical.get()), "{}", typical.get());
        for _ in 0..2_000 {
            typical.learn(10);
        }
        assert_eq!(typical.get(), 10);
        typical.learn(0);
        assert!(typical.get() < 11);
    }

    #[test]
    fn responses_that_cost_nothing_are_expected_to_cost_nothing() {
        let mut typical = Typical::default();
        for _ in 0..1_000 {
            typical.learn(0);
        }
        assert_eq!((typical.get(), typical.plausible()), (0, ALWAYS_PLAUSIBLE));
    }

    #[test]
    fn a_plausible_cost_follows_the_largest_and_forgets_it() {
        let mut typical = Typical::default();
        assert_eq!(typical.plausible(), 4096);
        typical.learn(100_000);
        assert_eq!(typical.plausible(), 400_000);
        for _ in 0..1000 {
            typical.learn(1);
        }
        assert_eq!(typical.plausible(), 4096);
        typical.learn(u64::MAX);
        assert_eq!(typical.plausible(), u64::MAX);
    }
}
