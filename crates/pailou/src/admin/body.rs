//! Bodies of the admin endpoint: texts, events that come as they happen, and bodies of other responses.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::connections::RequestGuard;

/// The body of an answer.
pub(crate) struct AdminBody {
    source: BodySource,
    /// Its place among the requests that are worked on.
    _permit: Option<OwnedSemaphorePermit>,
    /// Its connection is at work.
    _work: Option<RequestGuard>,
}

enum BodySource {
    /// A text; `None` once it has been taken.
    Text(Option<Bytes>),
    /// Events, until their sender goes.
    Events(mpsc::Receiver<Bytes>),
    /// The body of another response, until its sender goes.
    Relayed(mpsc::Receiver<io::Result<Bytes>>),
}

impl AdminBody {
    /// A text.
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::of(BodySource::Text(Some(text.into())))
    }

    /// Events, until their sender goes.
    pub(super) fn events(events: mpsc::Receiver<Bytes>) -> Self {
        Self::of(BodySource::Events(events))
    }

    /// The body of another response, until its sender goes.
    pub(super) fn relayed(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self::of(BodySource::Relayed(pieces))
    }

    /// The same that keeps a permit until it has been taken.
    pub(super) fn with(self, permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Some(permit), ..self }
    }

    /// The same that keeps its connection at work.
    pub(super) fn during(self, work: RequestGuard) -> Self {
        Self { _work: Some(work), ..self }
    }

    fn of(source: BodySource) -> Self {
        Self { source, _permit: None, _work: None }
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let bytes = match &mut self.get_mut().source {
            BodySource::Text(text) => Poll::Ready(text.take()),
            BodySource::Events(events) => events.poll_recv(context),
            BodySource::Relayed(pieces) => {
                return pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)));
            }
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, BodySource::Text(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            BodySource::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            BodySource::Events(_) | BodySource::Relayed(_) => SizeHint::default(),
        }
    }
}
