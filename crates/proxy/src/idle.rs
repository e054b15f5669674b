//! A request's idle clock, and the pulse of an upload that it watches.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use crate::timer::Timer;

/// When an upload last moved. Each chunk costs it two stores.
pub struct Pulse {
    begun: Instant,
    /// In microseconds since then.
    moved: AtomicU64,
    /// It is the client that is waited for, and not the backend.
    waits: AtomicBool,
}

/// A request's idle clock: it runs out when no byte has moved in either direction for its limit. Its timer is made when it is first
/// polled, and moved only when it runs out.
pub(crate) struct Idle {
    limit: Duration,
    last: Instant,
    upload: Option<Arc<Pulse>>,
    timer: Option<Timer>,
}

impl Pulse {
    /// A pulse that begins now.
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), moved: AtomicU64::new(0), waits: AtomicBool::new(false) }
    }

    /// It was looked for more; whether something moved.
    pub(crate) fn beat(&self, moved: bool) {
        if moved {
            let now = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.moved.store(now, Ordering::Relaxed);
        }
        self.waits.store(!moved, Ordering::Relaxed);
    }

    /// Whether it is the client that does not go on. Where it is not, all is there, or the backend takes no more.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    fn last(&self) -> Instant {
        self.begun + Duration::from_micros(self.moved.load(Ordering::Relaxed))
    }
}

impl Idle {
    /// A clock that begins now.
    pub(crate) fn new(limit: Duration, upload: Option<Arc<Pulse>>) -> Self {
        Self { limit, last: Instant::now(), upload, timer: None }
    }

    /// Something came back.
    pub(crate) fn beat(&mut self) {
        self.last = Instant::now();
    }

    /// Whether the timer has run out, and the clock is to be looked at.
    pub(crate) fn is_due(&self) -> bool {
        self.timer.as_ref().is_some_and(|timer| timer.deadline() <= Instant::now())
    }

    /// Waits until the clock has run out, for ever where there is none.
    pub(crate) async fn run_out(mut idle: Option<Self>) {
        poll_fn(|context| idle.as_mut().map_or(Poll::Pending, |idle| idle.poll(context))).await;
    }

    /// Ready once nothing has moved for too long.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let first = self.last + self.limit;
        let timer = self.timer.get_or_insert_with(|| Timer::new(first));
        while timer.poll(context).is_ready() {
            let last = self.upload.as_ref().map_or(self.last, |upload| upload.last().max(self.last));
            let due = last + self.limit;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.reset(due);
        }
        Poll::Pending
    }
}
