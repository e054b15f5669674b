//! Two connections that have become one: bytes, both ways, until either side ends or neither moves.

use std::{
    future::Future,
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::{
    bandwidth::Gate,
    idle::{Idle, Pulse},
};

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

/// Most bytes that wait for a limit of bandwidth in one direction.
const MAX_HELD: usize = 8 << 10;

/// Limits of bandwidth that a tunnel's bytes pass.
#[derive(Default)]
pub(crate) struct Gates {
    /// For bytes from the client.
    pub(crate) sent: Option<Gate>,
    /// For bytes from the backend.
    pub(crate) received: Option<Gate>,
}

/// Passes bytes on in both directions, no faster than the gates let them pass, until both sides have ended, either has failed, or nothing has moved for `idle`, or
/// until `stop`.
pub(crate) async fn tunnel(
    client: impl AsyncRead + AsyncWrite + Unpin,
    backend: impl AsyncRead + AsyncWrite + Unpin,
    gates: Gates,
    idle: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> Passed {
    let pulse = Arc::new(Pulse::new());
    let mut client = Watched { io: client, pulse: Arc::clone(&pulse), read: 0, throttle: gates.sent.map(Throttle::new) };
    let throttle = gates.received.map(Throttle::new);
    let mut backend = Watched { io: backend, pulse: Arc::clone(&pulse), read: 0, throttle };
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
    throttle: Option<Box<Throttle>>,
}

/// Bytes that have come, and wait for a limit of bandwidth.
struct Throttle {
    gate: Gate,
    bytes: [u8; MAX_HELD],
    /// Of the bytes, those that wait.
    held: Range<usize>,
}

impl Throttle {
    fn new(gate: Gate) -> Box<Self> {
        Box::new(Self { gate, bytes: [0; MAX_HELD], held: 0..0 })
    }

    /// Reads as much as may pass. Nothing further is read before all that was read has passed.
    fn poll_read<T: AsyncRead + Unpin>(
        &mut self,
        io: &mut T,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            let mut room = ReadBuf::new(&mut self.bytes);
            ready!(Pin::new(io).poll_read(context, &mut room))?;
            self.held = 0..room.filled().len();
        }
        let wanted = self.held.len().min(buffer.remaining());
        if wanted > 0 {
            let count = ready!(self.gate.poll_count(wanted, context));
            let passed = self.held.start..self.held.start + count;
            buffer.put_slice(&self.bytes[passed]);
            self.held.start += count;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Self { io, throttle, .. } = &mut *self;
        match throttle {
            None => ready!(Pin::new(io).poll_read(context, buffer))?,
            Some(throttle) => ready!(throttle.poll_read(io, context, buffer))?,
        }
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
