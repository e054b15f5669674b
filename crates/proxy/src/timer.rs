//! A timer for what is polled far more often than it runs out: a stream's, once an event.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is told whom to wake once, and not at each poll.
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Whom it wakes when it runs out.
    told: Option<Waker>,
}

impl Timer {
    /// A timer that runs out then.
    pub(crate) fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(at)), told: None }
    }

    /// Ready once it has run out.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.sleep.is_elapsed() && self.told.as_ref().is_some_and(|told| told.will_wake(context.waker())) {
            return Poll::Pending;
        }
        let is_over = self.sleep.as_mut().poll(context);
        self.told = is_over.is_pending().then(|| context.waker().clone());
        is_over
    }

    /// When it runs out.
    pub(crate) fn deadline(&self) -> Instant {
        self.sleep.deadline()
    }

    /// Has it run out at another time. It is to be polled again.
    pub(crate) fn reset(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at);
        self.told = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn whoever_polled_last_is_woken_and_after_a_reset_again() {
        let start = Instant::now();
        let mut timer = Timer::new(start);
        for millis in [200, 300] {
            let due = start + Duration::from_millis(millis);
            timer.reset(due);
            assert!(timer.poll(&mut Context::from_waker(Waker::noop())).is_pending());
            for _ in 0..3 {
                assert!(poll_fn(|context| Poll::Ready(timer.poll(context))).await.is_pending());
            }
            timeout(Duration::from_secs(10), poll_fn(|context| timer.poll(context))).await.expect("it wakes this task");
            assert!(Instant::now() >= due);
        }
    }
}
