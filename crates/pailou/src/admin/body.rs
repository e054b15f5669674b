//! Bodies of the admin endpoint: texts, events that come as they happen, and bodies of other responses.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc;

/// The body of an answer.
pub(crate) enum AdminBody {
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
        Self::Text(Some(text.into()))
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let bytes = match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take()),
            Self::Events(events) => events.poll_recv(context),
            Self::Relayed(pieces) => return pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Events(_) | Self::Relayed(_) => SizeHint::default(),
        }
    }
}
