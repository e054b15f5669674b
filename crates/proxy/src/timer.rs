//! A timer for what is polled far more often than it runs out: a stream's, once an event.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is told whom to wake once, and not at each poll.
pub(crate) struct Timer {
    at: Instant,
    /// Runs out then, or before, where it was set for a wait before this one.
    sleep: Pin<Box<Sleep>>,
    /// Whom it wakes when it runs out.
    told: Option<Waker>,
}

impl Timer {
    /// A timer that runs out then.
    pub(crate) fn new(at: Instant) -> Self {
        Self { at, sleep: Box::pin(sleep_until(at)), told: None }
    }

    /// Ready once it has run out.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.sleep.is_elapsed() && self.told.as_ref().is_some_and(|told| told.will_wake(context.waker())) {
                return Poll::Pending;
            }
            let is_over = self.sleep.as_mut().poll(context);
            self.told = is_over.is_pending().then(|| context.waker().clone());
            if is_over.is_pending() || self.sleep.deadline() >= self.at {
                return is_over;
            }
            self.sleep.as_mut().reset(self.at);
        }
    }

    /// When it runs out.
    pub(crate) fn deadline(&self) -> Instant {
        self.at
    }

    /// Has it run out at another time. It is to be polled again.
    pub(crate) fn reset(&mut self, at: Instant) {
        self.at = at;
        self.sleep.as_mut().reset(at);
        self.told = None;
    }

    /// Has it run out at another time, without a word to the runtime where that is later: it sleeps on when it wakes.
    fn set(&mut self, at: Instant) {
        match self.sleep.is_elapsed() || at < self.sleep.deadline() {
            true => self.reset(at),
            false => self.at = at,
        }
    }
}

/// A timer for waits that follow each other, as a connection's requests do. To make one and to take it back costs each more than all looks
/// at it.
#[derive(Default)]
pub(crate) struct SpareTimer(Mutex<Option<Timer>>);

impl fmt::Debug for SpareTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpareTimer").finish_non_exhaustive()
    }
}

impl SpareTimer {
    /// A timer that runs out then.
    pub(crate) fn take(&self, at: Instant) -> Timer {
        match self.0.lock().take() {
            Some(mut timer) => {
                timer.set(at);
                timer
            }
            None => Timer::new(at),
        }
    }

    /// Keeps a timer for the next wait.
    pub(crate) fn keep(&self, timer: Timer) {
        // The former value may be dropped without the lock.
        let _before = self.0.lock().replace(timer);
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

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_kept_runs_out_when_the_next_wait_is_over() {
        let spare = SpareTimer::default();
        // Later and sooner than the wait before, which has run out or not.
        for (seconds, waits) in [(10, false), (30, true), (40, false), (5, true), (5, true)] {
            let due = Instant::now() + Duration::from_secs(seconds);
            let mut timer = spare.take(due);
            assert_eq!(timer.deadline(), due);
            assert!(poll_fn(|context| Poll::Ready(timer.poll(context))).await.is_pending());
            if waits {
                poll_fn(|context| timer.poll(context)).await;
                assert!((due..due + Duration::from_millis(2)).contains(&Instant::now()));
            }
            spare.keep(timer);
        }
    }
}
