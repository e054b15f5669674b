//! Pause after a connection that was opened ahead for nothing.

use std::time::Duration;

use tokio::time::Instant;

/// Pause after the first such connection.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
/// Longest pause.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Pauses that double from [`MIN_BACKOFF`] to [`MAX_BACKOFF`] until a connection serves a request.
#[derive(Debug, Default)]
pub(in crate::upstream) struct PreconnectBackoff {
    /// Zero: no connection has failed.
    pause: Duration,
    until: Option<Instant>,
}

impl PreconnectBackoff {
    /// Whether nothing is to be opened yet.
    pub(in crate::upstream) fn is_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Begins a pause. Connections that fail within one were opened together with the first and begin no other.
    pub(in crate::upstream) fn failed(&mut self, now: Instant) {
        if !self.is_on(now) {
            self.pause = (self.pause * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
            self.until = now.checked_add(self.pause);
        }
    }

    /// A connection serves a request: the next pause is a short one.
    pub(in crate::upstream) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_until_a_connection_serves() {
        let (mut backoff, mut now) = (PreconnectBackoff::default(), Instant::now());
        assert!(!backoff.is_on(now));
        for pause in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            // Three that were opened together.
            (0..3).for_each(|_| backoff.failed(now));
            now += Duration::from_millis(pause - 1);
            assert!(backoff.is_on(now), "{pause}");
            now += Duration::from_millis(1);
            assert!(!backoff.is_on(now), "{pause}");
        }
        backoff.succeeded();
        backoff.failed(now);
        assert!(!backoff.is_on(now + MIN_BACKOFF));
    }
}
