//! Waiting longer after each failure.

use std::time::Duration;

/// Delays that double from `first` to `last`, each taken at random from its upper half, so that replicas do not come back in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins at `first` and never exceeds `last`.
    pub(crate) const fn new(first: Duration, last: Duration) -> Self {
        Self { first, last, next: first }
    }

    /// How long to wait after one more failure.
    pub(crate) fn failed(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.last);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Begins anew, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_last_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        let mut within = |low: u64, high: u64| {
            let delay = backoff.failed();
            assert!((Duration::from_millis(low)..=Duration::from_millis(high)).contains(&delay), "{delay:?}");
        };
        within(50, 100);
        within(100, 200);
        within(200, 400);
        within(250, 500);
        within(250, 500);
        backoff.reset();
        assert!(backoff.failed() <= Duration::from_millis(100));
    }
}
