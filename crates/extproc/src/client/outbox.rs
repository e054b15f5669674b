//! Messages to a picker or external processor: the body of the request that is the conversation.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::{Notify, mpsc};

/// Most bytes of a response's messages to queue. The proxy lets go of a picker that reads none of them.
const MAX_QUEUED: usize = 4 << 20;

/// Bytes in the queue up to which [`OutboxSender::has_room`] is so.
const ROOM: usize = 256 << 10;

/// The messages of a conversation, as the body of an HTTP/2 request. It ends when the conversation does.
pub struct Outbox {
    begun: VecDeque<Bytes>,
    more: mpsc::UnboundedReceiver<Bytes>,
    queue: Arc<Queue>,
}

/// An [`Outbox`] for as many connections as are tried: one that fails takes none of the messages along.
#[derive(Clone)]
pub struct SharedOutbox(Arc<Mutex<Outbox>>);

/// The writing end of an [`Outbox`].
pub(crate) struct OutboxSender {
    sender: mpsc::UnboundedSender<Bytes>,
    queue: Arc<Queue>,
    /// Most bytes that may wait.
    limit: usize,
}

/// Account of the messages that wait.
#[derive(Default)]
struct Queue {
    bytes: AtomicUsize,
    read: Notify,
}

impl Outbox {
    /// An outbox that begins with these frames.
    pub(super) fn new(begun: VecDeque<Bytes>) -> (Self, OutboxSender) {
        Self::with_limit(begun, MAX_QUEUED)
    }

    /// The same for messages of which so many bytes may wait.
    pub(crate) fn with_limit(begun: VecDeque<Bytes>, limit: usize) -> (Self, OutboxSender) {
        let (sender, more) = mpsc::unbounded_channel();
        let queue = Arc::<Queue>::default();
        (Self { begun, more, queue: queue.clone() }, OutboxSender { sender, queue, limit })
    }

    pub(crate) fn shared(self) -> SharedOutbox {
        SharedOutbox(Arc::new(Mutex::new(self)))
    }
}

impl OutboxSender {
    /// Sends frames. Returns false if the picker is gone, or reads nothing.
    pub(crate) fn write(&self, frames: impl IntoIterator<Item = Bytes>) -> bool {
        frames.into_iter().filter(|frame| !frame.is_empty()).all(|frame| {
            let queued = self.queue.bytes.fetch_add(frame.len(), Ordering::Relaxed) + frame.len();
            queued <= self.limit && self.sender.send(frame).is_ok()
        })
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until little is queued, or nobody reads any more.
    pub(crate) async fn has_room(&self) {
        loop {
            let mut read = pin!(self.queue.read.notified());
            read.as_mut().enable();
            if self.queue.bytes.load(Ordering::Relaxed) <= ROOM || self.sender.is_closed() {
                return;
            }
            read.await;
        }
    }
}

impl Body for Outbox {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(frame) = self.begun.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        let next = self.more.poll_recv(context);
        if let Poll::Ready(Some(frame)) = &next {
            self.queue.bytes.fetch_sub(frame.len(), Ordering::Relaxed);
            self.queue.read.notify_waiters();
        }
        next.map(|frame| frame.map(|frame| Ok(Frame::data(frame))))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.more.close();
        self.queue.read.notify_waiters();
    }
}

impl Body for SharedOutbox {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut outbox = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *outbox).poll_frame(context)
    }
}
