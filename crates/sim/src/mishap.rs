//! How injected faults take hold of a connection and of a response's body.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::reply::{Body, BrokenOff};

/// Time for what was sent before a break to leave: hyper flushes when the body has nothing more to give.
const FLUSH: Duration = Duration::from_millis(20);

const WHOLE: u8 = 0;
const RESET: u8 = 1;
const GARBAGE: u8 = 2;

/// A connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: SocketAddr,
    pub(crate) tls: Option<TlsFacts>,
    end: AtomicU8,
    broken: Notify,
}

/// Results of the TLS handshake.
#[derive(Clone, Debug)]
pub(crate) struct TlsFacts {
    pub(crate) server_name: Option<String>,
    pub(crate) alpn: Option<String>,
}

/// How a fault ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Reset,
    Garbage,
}

impl Link {
    pub(crate) fn new(peer: SocketAddr, tls: Option<TlsFacts>) -> Self {
        Link { peer, tls, end: AtomicU8::new(WHOLE), broken: Notify::new() }
    }

    pub(crate) fn break_off(&self, end: End) {
        let end = match end {
            End::Reset => RESET,
            End::Garbage => GARBAGE,
        };
        self.end.store(end, Ordering::Release);
        self.broken.notify_one();
    }

    /// Waits for a fault to end the connection.
    pub(crate) async fn broken(&self) -> End {
        self.broken.notified().await;
        if self.end.load(Ordering::Acquire) == GARBAGE { End::Garbage } else { End::Reset }
    }
}

/// Fault of a body after some of its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    Reset,
    Stall,
    Close,
}

/// A body that does not get to its end.
pub(crate) struct BrokenBody {
    inner: Body,
    announced: SizeHint,
    chunks_left: u32,
    how: Break,
    link: Arc<Link>,
    flushing: Option<Pin<Box<Sleep>>>,
}

impl BrokenBody {
    /// `inner`, broken after `chunks` chunks; a body of one piece is broken in its middle instead.
    pub(crate) fn new(inner: Body, chunks: u32, how: Break, link: Arc<Link>) -> Self {
        let announced = inner.size_hint();
        let (inner, chunks_left) = match inner {
            Body::Full(bytes) if chunks > 0 => (Body::Full(bytes.slice(..bytes.len() / 2)), 1),
            other => (other, chunks),
        };
        BrokenBody { inner, announced, chunks_left, how, link, flushing: None }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.announced
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.chunks_left > 0 {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
            self.chunks_left -= 1;
            return Poll::Ready(frame);
        }
        let flushing = self.flushing.get_or_insert_with(|| Box::pin(tokio::time::sleep(FLUSH)));
        ready!(flushing.as_mut().poll(cx));
        match self.how {
            Break::Close => return Poll::Ready(Some(Err(BrokenOff))),
            Break::Reset => self.link.break_off(End::Reset),
            Break::Stall => {}
        }
        // Keep the timer from being polled after its end: from here on there is nothing to wait for.
        self.flushing = Some(Box::pin(tokio::time::sleep(FOREVER)));
        Poll::Pending
    }
}

/// Longer than any test or run.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);
