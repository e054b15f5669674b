//! A client's connection as the protocols read it.

use std::{
    cell::RefCell,
    future::Future as _,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use super::{clock::Clock, port::ConnectionPermit};
use crate::{reset::reset, tls::MaybeTls};

/// A client that is still sending a request which was refused gets to hear of it: closing over unread bytes resets the connection,
/// and takes the answer along. So they are read and thrown away, until none have come for this long ...
const LINGER_IDLE: Duration = Duration::from_secs(1);
/// ... and for no longer than this.
const LINGER: Duration = Duration::from_secs(30);
/// Read at once while lingering.
const SCRATCH: usize = 16 << 10;
/// Reads before others get to run.
const BURST: usize = 32;

/// Up to this length, what is to be written from several places is put together first: copying so little costs less than having the
/// system gather it.
const JOINED: usize = 4 << 10;

thread_local! {
    static JOIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A client's connection. What was read to tell the protocols apart is read again first.
pub(super) struct ClientIo {
    stream: MaybeTls<TcpStream>,
    ahead: Bytes,
    clock: Arc<Clock>,
    /// Given back with the socket, even after it was upgraded.
    _permit: ConnectionPermit,
    /// Closed on this side, the client is listened to for a while: it may still be sending.
    pub(super) lingers: bool,
    closing: Option<Closing>,
}

/// A connection that was closed on this side.
struct Closing {
    idle: Pin<Box<Sleep>>,
    latest: Instant,
}

impl ClientIo {
    pub(super) fn new(stream: MaybeTls<TcpStream>, ahead: Bytes, clock: Arc<Clock>, permit: ConnectionPermit) -> Self {
        Self { stream, ahead, clock, _permit: permit, lingers: false, closing: None }
    }

    /// Ready when a read would yield something, be it an end or an error.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            MaybeTls::Clear(stream) => stream.poll_read_ready(context).map(drop),
            // It may hold more than was asked for.
            MaybeTls::Tls(stream) if !stream.get_ref().1.wants_read() => Poll::Ready(()),
            MaybeTls::Tls(stream) => stream.get_ref().0.poll_read_ready(context).map(drop),
        }
    }

    /// Makes its end one that nobody takes for a body's.
    pub(super) fn reset(&self) {
        if let MaybeTls::Clear(stream) = &self.stream {
            reset(stream);
        }
    }

    /// Throws away what comes, until nothing does.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let closing =
            self.closing.get_or_insert_with(|| Closing { idle: Box::pin(sleep(LINGER_IDLE)), latest: Instant::now() + LINGER });
        let mut scratch = [MaybeUninit::uninit(); SCRATCH];
        for _ in 0..BURST {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.idle.as_mut().reset((Instant::now() + LINGER_IDLE).min(closing.latest));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return closing.idle.as_mut().poll(context),
            }
        }
        if Instant::now() >= closing.latest {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..length]);
            self.ahead.advance(length);
            if self.ahead.is_empty() {
                // Lets go of its allocation.
                self.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.clock.read();
        }
        read
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.clock.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = match &mut self.stream {
            MaybeTls::Clear(stream) if length <= JOINED => JOIN.with_borrow_mut(|joined| {
                joined.clear();
                slices.iter().for_each(|slice| joined.extend_from_slice(slice));
                Pin::new(stream).poll_write(context, joined)
            }),
            stream => Pin::new(stream).poll_write_vectored(context, slices),
        };
        self.clock.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if !self.lingers {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_linger(context).map(Ok)
    }
}
