//! A response's body, and the connection it comes on.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    ExchangeError,
    http1::{Direct, Pumped},
    http2::Stream,
};

/// A response's body as it comes from a backend. At its end the connection is free for the next request; dropped before, it takes
/// the connection (HTTP/1.1) or the stream (HTTP/2) with it.
pub struct UpstreamBody {
    /// Frames that were read and [given back](Self::give_back).
    ahead: VecDeque<Frame<Bytes>>,
    rest: Rest,
}

pub(super) enum Rest {
    None,
    /// Read from an HTTP/1.1 connection by whoever polls.
    Http1(Box<Direct>),
    /// Read by a task of its own, since the request still streams in: a client that takes nothing of the response for now
    /// must not be kept from sending.
    Http1Pumped(Pumped),
    /// With its place on the connection, until it ends.
    Http2(Incoming, Option<Stream>),
}

impl UpstreamBody {
    pub(super) fn new(rest: Rest) -> Self {
        Self { ahead: VecDeque::new(), rest }
    }

    pub(super) fn http2(body: Incoming, stream: Stream) -> Self {
        let stream = Some(stream).filter(|_| !body.is_end_stream());
        Self::new(Rest::Http2(body, stream))
    }

    /// Puts frames that were read back in front of the rest.
    pub(crate) fn give_back(&mut self, mut frames: VecDeque<Frame<Bytes>>) {
        frames.append(&mut self.ahead);
        self.ahead = frames;
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        if let Some(frame) = self.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Rest::None => Poll::Ready(None),
            Rest::Http1(body) => body.poll_frame(context).map_err(ExchangeError::from),
            Rest::Http1Pumped(body) => body.poll_frame(context).map_err(ExchangeError::from),
            Rest::Http2(body, stream) => {
                let frame = Pin::new(&mut *body).poll_frame(context);
                if matches!(frame, Poll::Ready(None | Some(Err(_)))) || body.is_end_stream() {
                    *stream = None;
                }
                frame.map_err(ExchangeError::from)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty()
            && match &self.rest {
                Rest::None => true,
                Rest::Http1(body) => body.left() == Some(0),
                Rest::Http1Pumped(body) => body.left() == Some(0),
                Rest::Http2(body, _) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        if !self.ahead.is_empty() {
            return SizeHint::default();
        }
        let left = match &self.rest {
            Rest::None => Some(0),
            Rest::Http1(body) => body.left(),
            Rest::Http1Pumped(body) => body.left(),
            Rest::Http2(body, _) => return body.size_hint(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}
