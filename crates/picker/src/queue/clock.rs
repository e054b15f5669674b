//! Clock that waits go by: the system's, or a simulator's.

use std::{future::Future, time::Instant};

/// A clock of waiting requests.
#[cfg_attr(not(feature = "simulation"), expect(unreachable_pub, reason = "only simulators have one of their own"))]
pub trait QueueClock {
    /// The time.
    fn now(&self) -> Instant;

    /// Ends at this time or later.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()>;
}

/// The system's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl QueueClock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        tokio::time::sleep_until(at.into())
    }
}
