//! Replies on their way to a proxy.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use pailou_envoy_proto::ext_proc::ProcessingResponse;
use tokio::sync::mpsc;
use tonic::Status;

/// Messages that wait for the connection to take them; whoever answers waits when there are more.
const MAX_QUEUED: usize = 16;

/// Sender of replies to a proxy.
#[derive(Debug)]
pub struct Replies(mpsc::Sender<Result<ProcessingResponse, Status>>);

/// The proxy does not listen any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy has closed the stream")]
pub struct ProxyGone;

impl Replies {
    /// A way for answers, and its end.
    pub(super) fn new() -> (Self, ReplyStream) {
        let (send, receive) = mpsc::channel(MAX_QUEUED);
        (Self(send), ReplyStream(receive))
    }

    /// Says something, as soon as there is room for it.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn send(&self, reply: ProcessingResponse) -> Result<(), ProxyGone> {
        self.0.send(Ok(reply)).await.map_err(|_| ProxyGone)
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    /// Ends the call with this status.
    pub async fn fail(self, status: Status) {
        // One who has gone needs no status.
        let _ = self.0.send(Err(status)).await;
    }
}

/// Replies that the connection reads.
pub struct ReplyStream(mpsc::Receiver<Result<ProcessingResponse, Status>>);

impl Stream for ReplyStream {
    type Item = Result<ProcessingResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
