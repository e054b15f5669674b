//! Messages to a picker or external processor: the body of the request that is the conversation.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::{Notify, mpsc};

/// Most bytes of a response's messages to queue. The proxy lets go of a picker that reads none of them.
const MAX_QUEUED: usize = 4 << 20;

/// Most bytes that wait for all servers which only watch: a request's account ends before they have read it.
const MAX_OBSERVED: usize = 64 << 20;

/// Bytes that wait for servers which only watch.
static OBSERVED: AtomicUsize = AtomicUsize::new(0);

/// Bytes in the queue up to which [`OutboxSender::has_room`] is so.
const ROOM: usize = 256 << 10;

/// The messages of a conversation, as the body of an HTTP/2 request. It ends when the conversation does.
pub struct Outbox {
    begun: VecDeque<Bytes>,
    more: mpsc::UnboundedReceiver<Bytes>,
    queue: Arc<Queue>,
}

/// An [`Outbox`] for as many connections as are tried: one that cannot be made takes none of the messages along. After one that has
/// [begun](Self::has_begun) another would go on in the middle.
#[derive(Clone)]
pub struct SharedOutbox(Arc<Shared>);

struct Shared {
    outbox: Mutex<Outbox>,
    has_begun: AtomicBool,
}

/// The writing end of an [`Outbox`].
pub(crate) struct OutboxSender {
    sender: mpsc::UnboundedSender<Bytes>,
    queue: Arc<Queue>,
    /// Most bytes that may wait.
    limit: usize,
}

/// Account of the messages that wait.
struct Queue {
    bytes: AtomicUsize,
    read: Notify,
    /// The server only watches.
    is_observed: bool,
}

impl Queue {
    fn new(is_observed: bool) -> Self {
        Self { bytes: AtomicUsize::new(0), read: Notify::new(), is_observed }
    }

    /// Counts a frame. Gives back how many bytes wait, and whether all observers' are within their bound.
    fn add(&self, length: usize) -> (usize, bool) {
        let is_within = !self.is_observed || OBSERVED.fetch_add(length, Ordering::Relaxed) + length <= MAX_OBSERVED;
        (self.bytes.fetch_add(length, Ordering::Relaxed) + length, is_within)
    }

    fn remove(&self, length: usize) {
        self.bytes.fetch_sub(length, Ordering::Relaxed);
        if self.is_observed {
            OBSERVED.fetch_sub(length, Ordering::Relaxed);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let left = *self.bytes.get_mut();
        self.remove(left);
    }
}

impl Outbox {
    /// An outbox that begins with these frames.
    pub(super) fn new(begun: VecDeque<Bytes>) -> (Self, OutboxSender) {
        Self::with_limit(begun, MAX_QUEUED)
    }

    /// The same for messages of which so many bytes may wait.
    pub(crate) fn with_limit(begun: VecDeque<Bytes>, limit: usize) -> (Self, OutboxSender) {
        Self::queued(begun, limit, Queue::new(false))
    }

    /// The same for a server that only watches.
    pub(crate) fn observed(begun: VecDeque<Bytes>, limit: usize) -> (Self, OutboxSender) {
        Self::queued(begun, limit, Queue::new(true))
    }

    fn queued(begun: VecDeque<Bytes>, limit: usize, queue: Queue) -> (Self, OutboxSender) {
        let (sender, more) = mpsc::unbounded_channel();
        let queue = Arc::new(queue);
        (Self { begun, more, queue: queue.clone() }, OutboxSender { sender, queue, limit })
    }

    pub(crate) fn shared(self) -> SharedOutbox {
        SharedOutbox(Arc::new(Shared { outbox: Mutex::new(self), has_begun: AtomicBool::new(false) }))
    }
}

impl SharedOutbox {
    /// Whether a connection has got a message.
    pub fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Relaxed)
    }
}

impl OutboxSender {
    /// Sends frames. Returns false if the picker is gone, or reads nothing.
    pub(crate) fn write(&self, frames: impl IntoIterator<Item = Bytes>) -> bool {
        frames.into_iter().filter(|frame| !frame.is_empty()).all(|frame| {
            let (queued, is_within) = self.queue.add(frame.len());
            is_within && queued <= self.limit && self.sender.send(frame).is_ok()
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
            self.queue.remove(frame.len());
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
        let mut outbox = self.0.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = Pin::new(&mut *outbox).poll_frame(context);
        if matches!(frame, Poll::Ready(Some(_))) {
            self.0.has_begun.store(true, Ordering::Relaxed);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_all_observers_is_bounded_and_given_back() {
        let frame = || Bytes::from_static(&[0; 1 << 20]);
        let outbox = || Outbox::observed(VecDeque::new(), usize::MAX);
        let (first, second) = (outbox(), outbox());
        let fits = (0..MAX_OBSERVED >> 20).all(|_| first.1.write([frame()]));
        assert!(fits && !second.1.write([frame()]));
        drop((first, second));
        assert!(outbox().1.write([frame()]));
    }

    #[tokio::test]
    async fn a_shared_outbox_knows_whether_a_connection_has_got_a_message() {
        let (outbox, sender) = Outbox::new(VecDeque::new());
        let mut shared = outbox.shared();
        let poll = |shared: &mut SharedOutbox| {
            let mut context = Context::from_waker(std::task::Waker::noop());
            Pin::new(shared).poll_frame(&mut context).is_ready()
        };
        assert!(!poll(&mut shared) && !shared.has_begun());
        assert!(sender.write([Bytes::from_static(b"message")]));
        assert!(poll(&mut shared.clone()) && shared.has_begun());
    }
}
