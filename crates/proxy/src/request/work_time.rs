//! Time for which a thread works on a request.

use std::time::{Duration, Instant};

/// Sums the time of a request's steps. Between two of them it waits: for its client, a backend, an endpoint with room, a store.
pub(super) struct WorkTime {
    /// Begin of the step under way, or end of the last.
    at: Instant,
    total: Duration,
    is_begun: bool,
}

impl WorkTime {
    /// The first step has begun then.
    pub(super) fn since(started: Instant) -> Self {
        Self { at: started, total: Duration::ZERO, is_begun: true }
    }

    /// Begins a step.
    pub(super) fn begin(&mut self) {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.at = Instant::now();
        }
    }

    /// Adds the time of the step that ends.
    pub(super) fn end(&mut self) {
        let now = Instant::now();
        self.total += now.saturating_duration_since(self.at);
        (self.at, self.is_begun) = (now, false);
    }

    /// End of the last step.
    pub(super) fn ended(&self) -> Instant {
        self.at
    }

    /// Time of all steps.
    pub(super) fn total(&self) -> Duration {
        self.total
    }
}
