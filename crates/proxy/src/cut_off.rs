//! End of a drain: requests and connections that are still under way give up.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
};

use tokio::sync::Notify;

/// Signal that the drain is over. It is given once.
#[derive(Debug, Default)]
pub struct CutOff {
    is_given: AtomicBool,
    notify: Notify,
}

impl CutOff {
    /// Gives the signal.
    pub(crate) fn give(&self) {
        self.is_given.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Whether the signal was given.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given.load(Ordering::Acquire)
    }

    /// Waits for the signal, on one task.
    pub(crate) async fn given(&self) {
        let mut notified = pin!(self.notify.notified());
        let mut is_registered = false;
        poll_fn(|context| {
            // All connections share this lock: a connection takes it once, not each time that it wakes.
            if !std::mem::replace(&mut is_registered, true) && notified.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            if self.is_given() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_signal_and_not_before() {
        let cut_off = Arc::new(CutOff::default());
        let waiting = tokio::spawn({
            let cut_off = Arc::clone(&cut_off);
            async move { cut_off.given().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && !cut_off.is_given());
        cut_off.give();
        waiting.await.unwrap();
        cut_off.given().await;
    }
}
