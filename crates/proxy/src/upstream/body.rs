//! A response's body, and the connection it comes on.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{ExchangeError, http1::Http1Body, http2::Stream};

/// A response's body as it comes from a backend. At its end the connection is free for the next request; dropped before, it takes
/// the connection (HTTP/1.1) or the stream (HTTP/2) with it.
pub struct UpstreamBody(Inner);

enum Inner {
    None,
    Http1(Http1Body),
    /// With its place on the connection, until it ends.
    Http2(Incoming, Option<Stream>),
}

impl UpstreamBody {
    pub(super) fn none() -> Self {
        Self(Inner::None)
    }

    pub(super) fn http1(body: Http1Body) -> Self {
        Self(Inner::Http1(body))
    }

    pub(super) fn http2(body: Incoming, stream: Stream) -> Self {
        let stream = Some(stream).filter(|_| !body.is_end_stream());
        Self(Inner::Http2(body, stream))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        match &mut self.0 {
            Inner::None => Poll::Ready(None),
            Inner::Http1(body) => Pin::new(body).poll_frame(context).map_err(ExchangeError::from),
            Inner::Http2(body, stream) => {
                let frame = Pin::new(&mut *body).poll_frame(context);
                if matches!(frame, Poll::Ready(None | Some(Err(_)))) || body.is_end_stream() {
                    *stream = None;
                }
                frame.map_err(ExchangeError::from)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::None => true,
            Inner::Http1(body) => body.is_end_stream(),
            Inner::Http2(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::None => SizeHint::with_exact(0),
            Inner::Http1(body) => body.size_hint(),
            Inner::Http2(body, _) => body.size_hint(),
        }
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}
