//! A response's body, and the connection it comes on.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{http1::Lease, http2::Stream};

/// A response's body as it comes from a backend. At its end the connection is free for the next request; dropped before, it takes
/// the connection (HTTP/1.1) or the stream (HTTP/2) with it.
pub struct UpstreamBody {
    incoming: Incoming,
    hold: Option<Hold>,
}

/// What a response under way holds.
pub(super) enum Hold {
    Http1(Lease),
    Http2(Stream),
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, hold: Option<Hold>) -> Self {
        let mut body = Self { incoming, hold };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        match self.hold.take() {
            Some(Hold::Http1(lease)) => lease.finish(),
            Some(Hold::Http2(stream)) => drop(stream),
            None => {}
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Err(_))) => self.hold = None,
            Poll::Ready(None) => self.finish(),
            Poll::Ready(Some(Ok(_))) if self.incoming.is_end_stream() => self.finish(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}
