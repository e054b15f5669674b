//! Time for which a thread works on a request.

use std::time::{Duration, Instant};

/// Sums the time of a request's steps. Between two of them it waits: for its client, a backend, an endpoint with room, a store.
pub(super) struct WorkTime {
    /// Begin of the first step.
    started: Option<Instant>,
    total: Duration,
}

impl WorkTime {
    /// The first step has begun then.
    pub(super) fn since(started: Instant) -> Self {
        Self { started: Some(started), total: Duration::ZERO }
    }

    /// Adds the time of a step.
    pub(super) fn step<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let started = self.started.take().unwrap_or_else(Instant::now);
        let result = step();
        self.total += started.elapsed();
        result
    }

    /// Time of all steps.
    pub(super) fn total(&self) -> Duration {
        self.total
    }
}
