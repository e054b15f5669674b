//! Bodies: towards a backend, and towards a client.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pailou_ai::Pieces;

use crate::{
    mirror::{Copied, Tee},
    relay::Relay,
};

/// Why a body ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender broke off, or what it sent is not HTTP.
    #[error("the sender broke off: {0}")]
    Sender(#[from] hyper::Error),
    /// A mirror's copy fell too far behind the original and was given up.
    #[error("the copy of the request was given up")]
    CopyAbandoned,
    /// The connection ended before the stream said that it was through.
    #[error("the stream ended before its end")]
    CutShort,
    /// One of the gateway's clocks ran out.
    #[error("{0}")]
    TimedOut(&'static str),
}

/// A request's body as it is sent to a backend. Only what is [held](RequestBody::held) can be sent again.
pub struct RequestBody(Request);

enum Request {
    Held { pieces: std::vec::IntoIter<Bytes>, left: u64 },
    Streamed(Incoming),
    Teed(Box<Tee>),
    Copied(Copied),
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
    pub fn streamed(body: Incoming) -> Self {
        Self(Request::Streamed(body))
    }

    /// The same, copied to mirrors on the way.
    pub(crate) fn teed(tee: Tee) -> Self {
        Self(Request::Teed(Box::new(tee)))
    }

    /// A mirror's copy of a body that is passed on.
    pub(crate) fn copied(copy: Copied) -> Self {
        Self(Request::Copied(copy))
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
            Request::Streamed(body) => Pin::new(body).poll_frame(context).map_err(BodyError::from),
            Request::Teed(tee) => tee.poll_frame(context),
            Request::Copied(copy) => copy.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Request::Held { left, .. } => *left == 0,
            Request::Streamed(body) => body.is_end_stream(),
            Request::Teed(tee) => tee.is_end_stream(),
            Request::Copied(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Request::Held { left, .. } => SizeHint::with_exact(*left),
            Request::Streamed(body) => body.size_hint(),
            Request::Teed(tee) => tee.size_hint(),
            Request::Copied(_) => SizeHint::default(),
        }
    }
}

/// A response's body as it is sent to a client.
pub struct ResponseBody(Response);

enum Response {
    Whole(Option<Bytes>),
    Relayed(Box<Relay>),
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
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Response::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Response::Relayed(relay) => relay.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Response::Whole(bytes) => bytes.is_none(),
            Response::Relayed(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Response::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Response::Relayed(relay) => relay.size_hint(),
        }
    }
}
