//! HTTP/2 streams whose client takes nothing of the response.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use hyper::rt::Executor;
use tokio::sync::Notify;

use crate::idle::{Idle, Pulse};

tokio::task_local! {
    static FLOW: Arc<Flow>;
}

/// Runs the streams of a connection, and ends one whose client has taken nothing of its response for too long. Flow control keeps
/// such a body from being polled, and so its own clocks from being seen; an HTTP/1.1 client that does the same stalls its connection.
#[derive(Clone)]
pub(super) struct Streams {
    limit: Option<Duration>,
    cut_off: Arc<Notify>,
}

/// How a stream's response goes.
#[derive(Default)]
pub(super) struct Flow {
    /// A part of it was handed over, and no more was asked for.
    held: AtomicBool,
    /// A client that still sends is alive.
    upload: OnceLock<Arc<Pulse>>,
}

impl Streams {
    /// Streams may stand still for this long. `cut_off` wakes all of them, to give up.
    pub(super) fn new(limit: Option<Duration>, cut_off: Arc<Notify>) -> Self {
        Self { limit, cut_off }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // Boxed: as an argument it would take its room twice.
        tokio::spawn(watched(Box::pin(stream), self.limit, Arc::clone(&self.cut_off)));
    }
}

impl Flow {
    /// That of the stream which is being served; `None` where it is not one that is watched.
    pub(super) fn current() -> Option<Arc<Self>> {
        FLOW.try_with(Arc::clone).ok()
    }

    /// There is an upload beside the response.
    pub(super) fn beside(&self, upload: &Arc<Pulse>) {
        let _ = self.upload.set(Arc::clone(upload));
    }

    /// The response's body was polled; whether a part of it came of that.
    pub(super) fn polled(&self, part: bool) {
        self.held.store(part, Ordering::Relaxed);
    }
}

async fn watched(stream: Pin<Box<impl Future<Output = ()>>>, limit: Option<Duration>, cut_off: Arc<Notify>) {
    let flow = Arc::<Flow>::default();
    let mut stream = pin!(FLOW.scope(Arc::clone(&flow), stream));
    let mut idle: Option<Idle> = None;
    let mut cut_off = pin!(cut_off.notified());
    let mut is_registered = false;
    poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if !is_registered {
            is_registered = true;
            // Once: the task is woken by it whatever wakes it meanwhile.
            let _ = cut_off.as_mut().poll(context);
        }
        let Some(limit) = limit.filter(|_| flow.held.load(Ordering::Relaxed)) else {
            idle = None;
            return Poll::Pending;
        };
        let idle = idle.get_or_insert_with(|| Idle::new(limit, flow.upload.get().cloned()));
        // Any other wake-up of the stream is a sign of life.
        if !idle.is_due() {
            idle.beat();
        }
        idle.poll(context)
    })
    .await;
}
