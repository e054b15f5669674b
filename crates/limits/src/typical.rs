//! A high cost of the last responses, learned.

/// Share of responses that cost less, in percent.
const QUANTILE: u64 = 90;
/// Cost before anything was learned: a short answer.
const FIRST: u64 = 256;

/// An estimate of the 90th percentile of costs. Each cost moves it by a share of itself, up nine times as far as down, so that nine in
/// ten lie below in the long run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Typical(u64);

impl Default for Typical {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Typical {
    /// The estimate.
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// Learns a cost.
    pub(crate) fn learn(&mut self, cost: u64) {
        let step = (self.0 / 20).max(1);
        self.0 = match cost > self.0 {
            true => (self.0 + step * QUANTILE / 50).min(cost),
            false => (self.0 - (step * (100 - QUANTILE) / 50).clamp(1, self.0.max(1))).max(cost),
        };
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
}
