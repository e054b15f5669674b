//! Messages to a picker: the body of the request that is the conversation.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// Most bytes of a response's messages to queue. The proxy lets go of a picker that reads none of them.
const MAX_QUEUED: usize = 4 << 20;

/// The messages of a conversation, as the body of an HTTP/2 request. It ends when the conversation does.
pub struct Outbox {
    begun: VecDeque<Bytes>,
    more: mpsc::UnboundedReceiver<Bytes>,
    queued: Arc<AtomicUsize>,
}

/// The writing end of an [`Outbox`].
pub(super) struct OutboxSender {
    sender: mpsc::UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
}

impl Outbox {
    /// An outbox that begins with these frames.
    pub(super) fn new(begun: VecDeque<Bytes>) -> (Self, OutboxSender) {
        let (sender, more) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        (Self { begun, more, queued: queued.clone() }, OutboxSender { sender, queued })
    }
}

impl OutboxSender {
    /// Sends frames. Returns false if the picker is gone, or reads nothing.
    pub(super) fn write(&self, frames: impl IntoIterator<Item = Bytes>) -> bool {
        frames.into_iter().filter(|frame| !frame.is_empty()).all(|frame| {
            let queued = self.queued.fetch_add(frame.len(), Ordering::Relaxed) + frame.len();
            queued <= MAX_QUEUED && self.sender.send(frame).is_ok()
        })
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
            self.queued.fetch_sub(frame.len(), Ordering::Relaxed);
        }
        next.map(|frame| frame.map(|frame| Ok(Frame::data(frame))))
    }
}
