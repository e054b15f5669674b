//! Two connections that have become one: bytes, both ways, until either side ends or neither moves.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::idle::{Idle, Pulse};

/// Bytes that went through a tunnel.
#[derive(Debug)]
pub(crate) struct Passed {
    /// Bytes from the client.
    pub(crate) sent: u64,
    /// Bytes from the backend.
    pub(crate) received: u64,
    /// Why it ended.
    pub(crate) end: End,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Either side closed it, or broke off.
    Closed,
    /// No byte moved in either direction for too long.
    Idle,
    /// It was to stop.
    Stopped,
}

/// Passes bytes on in both directions until both sides have ended, either has failed, or nothing has moved for `idle`, or
/// until `stop`.
pub(crate) async fn tunnel(
    client: impl AsyncRead + AsyncWrite + Unpin,
    backend: impl AsyncRead + AsyncWrite + Unpin,
    idle: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> Passed {
    let pulse = Arc::new(Pulse::new());
    let mut client = Watched { io: client, pulse: Arc::clone(&pulse), read: 0 };
    let mut backend = Watched { io: backend, pulse: Arc::clone(&pulse), read: 0 };
    let end = tokio::select! {
        biased;
        // An error here is how many such connections end.
        _ = copy_bidirectional(&mut client, &mut backend) => End::Closed,
        () = Idle::run_out(idle.map(|limit| Idle::new(limit, Some(pulse)))) => End::Idle,
        () = stop => End::Stopped,
    };
    Passed { sent: client.read, received: backend.read, end }
}

/// A connection that is watched for bytes that come.
struct Watched<T> {
    io: T,
    pulse: Arc<Pulse>,
    read: u64,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.read += count as u64;
            self.pulse.beat(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
