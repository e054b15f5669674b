//! A connection's bytes: written as they come, read ahead into a buffer.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// Room that is made for a read.
const FIRST_READ: usize = 8 << 10;
/// The same where much comes at once. Also the most that is read ahead of a slow reader.
const LARGEST_READ: usize = 64 << 10;
/// Too little room to read into.
const LEAST_ROOM: usize = 1 << 10;

/// An open connection's bytes.
pub(crate) struct Wire<S> {
    pub(crate) io: S,
    /// What was read and not used yet. Without memory while nothing is under way.
    pub(crate) read: BytesMut,
    next_read: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, read: BytesMut::new(), next_read: FIRST_READ }
    }

    /// Reads on. `false` at the connection's end.
    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.read.capacity() - self.read.len() < LEAST_ROOM {
            self.read.reserve(self.next_read);
        }
        let room = self.read.capacity() - self.read.len();
        let count = ready!(pin!(self.io.read_buf(&mut self.read)).poll(context))?;
        if count == room {
            self.next_read = (2 * self.next_read).min(LARGEST_READ);
        }
        Poll::Ready(Ok(count > 0))
    }

    /// Writes some of these.
    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        // A plain write costs the system less than one of several slices.
        let written = if let [slice] = slices { io.poll_write(context, slice) } else { io.poll_write_vectored(context, slices) };
        match ready!(written)? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => Poll::Ready(Ok(count)),
        }
    }

    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    /// Between requests: nothing is read ahead, and no memory held.
    pub(crate) fn rest(&mut self) -> bool {
        let is_empty = self.read.is_empty();
        self.read = BytesMut::new();
        is_empty
    }
}
