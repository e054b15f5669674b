//! Bodies: towards a backend, and towards a client.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use pailou_ai::Pieces;
use pailou_extproc::client::Outbox;

use crate::{
    filter::Compressed,
    mirror::Copied,
    relay::Relay,
    server::ClientBodyError,
    upload::{Pulse, Upload},
    upstream::ExchangeError,
};

/// Why a body ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender broke off, or what it sent is not HTTP.
    #[error("the sender broke off: {0}")]
    Sender(#[from] ClientBodyError),
    /// The backend broke off, or what it sent is not HTTP.
    #[error("{0}")]
    Backend(#[from] ExchangeError),
    /// A mirror's copy fell too far behind the original and was given up.
    #[error("the copy of the request was given up")]
    CopyAbandoned,
    /// The connection ended before the stream said that it was through.
    #[error("the stream ended before its end")]
    CutShort,
    /// One of the gateway's clocks ran out.
    #[error("{0}")]
    TimedOut(&'static str),
    /// The request was answered, or given up, before all of its body had come. As its cause says, an HTTP/2 stream is cancelled.
    #[error("the request was over before its body")]
    Over(#[source] h2::Error),
    /// An endpoint picker evicted the request, or changed the body and did not end it.
    #[error("{0}")]
    Picker(String),
    /// The compressor gave up.
    #[error("the response cannot be compressed: {0}")]
    Compression(std::io::Error),
}

/// A request's body as it is sent to a backend. Only what is [held](RequestBody::held) can be sent again.
pub struct RequestBody(Request);

enum Request {
    Held { pieces: std::vec::IntoIter<Bytes>, left: u64 },
    Streamed(Box<Upload>),
    Copied(Copied),
    Asked(Outbox),
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self::held(Pieces::default())
    }

    /// A body that was read before.
    pub fn held(pieces: Pieces) -> Self {
        let left = pieces.len() as u64;
        Self(Request::Held { pieces: pieces.into_iter(), left })
    }

    /// A body passed on as the client sends it, trailers included.
    pub(crate) fn streamed(upload: Upload) -> Self {
        Self(Request::Streamed(Box::new(upload)))
    }

    /// Whether all of it is there.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.0, Request::Held { .. })
    }

    /// A mirror's copy of a body that is passed on.
    pub(crate) fn copied(copy: Copied) -> Self {
        Self(Request::Copied(copy))
    }

    /// Body of a request to an endpoint picker.
    pub(crate) fn asked(outbox: Outbox) -> Self {
        Self(Request::Asked(outbox))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Request::Held { pieces, left } => Poll::Ready(pieces.next().map(|piece| {
                *left -= piece.len() as u64;
                Ok(Frame::data(piece))
            })),
            Request::Streamed(upload) => upload.poll_frame(context),
            Request::Copied(copy) => copy.poll_frame(context),
            Request::Asked(outbox) => Pin::new(outbox).poll_frame(context).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Request::Held { left, .. } => *left == 0,
            Request::Streamed(upload) => upload.is_end_stream(),
            Request::Copied(_) | Request::Asked(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Request::Held { left, .. } => SizeHint::with_exact(*left),
            Request::Streamed(upload) => upload.size_hint(),
            Request::Copied(_) | Request::Asked(_) => SizeHint::default(),
        }
    }
}

/// A response's body as it is sent to a client.
pub struct ResponseBody(Response);

enum Response {
    Whole(Option<Bytes>),
    Relayed(Box<Relay>),
    Compressed(Box<Compressed>),
}

impl ResponseBody {
    /// No body.
    pub fn empty() -> Self {
        Self(Response::Whole(None))
    }

    /// A body that the gateway made itself.
    pub fn whole(bytes: Bytes) -> Self {
        Self(Response::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    /// A backend's body, chunk for chunk.
    pub(crate) fn relayed(relay: Relay) -> Self {
        Self(Response::Relayed(Box::new(relay)))
    }

    /// Another body, compressed.
    pub(crate) fn compressed(compressed: Compressed) -> Self {
        Self(Response::Compressed(Box::new(compressed)))
    }

    /// Gives the body up: the client gets a response with this status in its place.
    pub(crate) fn discard(self, status: StatusCode) {
        if let Response::Relayed(relay) = self.0 {
            relay.discard(status);
        }
    }

    /// The upload that may still go on beside it.
    pub(crate) fn upload(&self) -> Option<&Arc<Pulse>> {
        match &self.0 {
            Response::Whole(_) => None,
            Response::Relayed(relay) => relay.upload(),
            Response::Compressed(compressed) => compressed.inner().upload(),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Response::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Response::Relayed(relay) => relay.poll_frame(context),
            Response::Compressed(compressed) => compressed.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Response::Whole(bytes) => bytes.is_none(),
            Response::Relayed(relay) => relay.is_end_stream(),
            Response::Compressed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Response::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Response::Relayed(relay) => relay.size_hint(),
            Response::Compressed(_) => SizeHint::default(),
        }
    }
}
