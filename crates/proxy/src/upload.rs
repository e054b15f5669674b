//! A request's body while it streams through: watched by the request's idle clock, and ended with the request.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep},
};

use crate::{body::BodyError, mirror::Tee, server::ClientBody, timer::Timer};

/// After a request is over, what may still be missing of its body gets this long to go out.
const GRACE: Duration = Duration::from_millis(100);

/// A body that is passed on as the client sends it, as the connection to the backend reads it.
pub(crate) struct Upload {
    body: Origin,
    pulse: Arc<Pulse>,
    over: oneshot::Receiver<()>,
    grace: Option<Pin<Box<Sleep>>>,
}

/// Source of an upload.
pub(crate) enum Origin {
    /// The client.
    Client(ClientBody),
    /// The client, with copies for mirrors on the way.
    Teed(Tee),
}

/// The request's end of an upload. Dropped, which is when the request is over, it ends the upload.
pub(crate) struct Watch {
    pulse: Arc<Pulse>,
    _over: oneshot::Sender<()>,
}

/// When an upload last moved. Each chunk costs it two stores.
pub(crate) struct Pulse {
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

impl Upload {
    /// An upload, and the request's end of it.
    pub(crate) fn new(body: Origin) -> (Self, Watch) {
        let pulse = Arc::new(Pulse::new());
        let (watch, over) = oneshot::channel();
        (Self { body, pulse: Arc::clone(&pulse), over, grace: None }, Watch { pulse, _over: watch })
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.body {
            Origin::Client(body) => Pin::new(body).poll_frame(context).map_err(BodyError::from),
            Origin::Teed(tee) => tee.poll_frame(context),
        };
        self.pulse.beat(frame.is_ready());
        if frame.is_ready() {
            return frame;
        }
        if self.grace.is_none() {
            // It is never sent to: it ends when the other side is dropped.
            let _ = ready!(Pin::new(&mut self.over).poll(context));
        }
        ready!(self.grace.get_or_insert_with(|| Box::pin(sleep(GRACE))).as_mut().poll(context));
        Poll::Ready(Some(Err(BodyError::Over(h2::Reason::CANCEL.into()))))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match &self.body {
            Origin::Client(body) => body.is_end_stream(),
            Origin::Teed(tee) => tee.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.body {
            Origin::Client(body) => body.size_hint(),
            Origin::Teed(tee) => tee.size_hint(),
        }
    }
}

impl Watch {
    /// The upload's pulse.
    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
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
