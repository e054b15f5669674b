//! A connection's bytes: written as they come, read ahead into a buffer.

use std::{
    cell::RefCell,
    future::Future as _,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// A read's room to begin with, which all connections of a thread share.
const SHARED_READ: usize = 8 << 10;
/// Room of a connection's own, where much comes at once. Also the most that is read ahead of a slow reader.
const LARGEST_READ: usize = 64 << 10;
/// Too little room to read into.
const LEAST_ROOM: usize = 1 << 10;

thread_local! {
    static ROOM: RefCell<[MaybeUninit<u8>; SHARED_READ]> = const { RefCell::new([MaybeUninit::uninit(); SHARED_READ]) };
}

/// An open connection's bytes.
pub(crate) struct Wire<S> {
    pub(crate) io: S,
    /// Bytes read and not used yet. Without memory while no request is in progress.
    pub(crate) read: BytesMut,
    /// Room of its own that is made for a read; none where little comes at once.
    own_room: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, read: BytesMut::new(), own_room: 0 }
    }

    /// Reads on. `false` at the connection's end. While nothing comes and nothing is held, no memory is either: there may be many streams
    /// that wait for a model's next word.
    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.room() < LEAST_ROOM {
            if self.own_room == 0 {
                return self.poll_fill_by_copy(context);
            }
            self.read.reserve(self.own_room);
        }
        let room = self.room();
        let Poll::Ready(count) = pin!(self.io.read_buf(&mut self.read)).poll(context) else {
            // More room was made for a body that is announced.
            if room <= LARGEST_READ {
                self.release();
            }
            return Poll::Pending;
        };
        let count = count?;
        self.came(count, room);
        Poll::Ready(Ok(count > 0))
    }

    /// By way of the thread's room: what is short costs less to copy to memory of its size than memory for the longest would cost.
    fn poll_fill_by_copy(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        ROOM.with_borrow_mut(|room| {
            let mut buffer = ReadBuf::uninit(room);
            let Poll::Ready(result) = Pin::new(&mut self.io).poll_read(context, &mut buffer) else {
                self.release();
                return Poll::Pending;
            };
            result?;
            let came = buffer.filled();
            let count = came.len();
            if self.read.is_empty() {
                self.read = BytesMut::from(came);
            } else {
                self.read.extend_from_slice(came);
            }
            self.came(count, SHARED_READ);
            Poll::Ready(Ok(count > 0))
        })
    }

    fn room(&self) -> usize {
        self.read.capacity() - self.read.len()
    }

    /// Makes more room for the next read where so much room was all taken.
    fn came(&mut self, count: usize, room: usize) {
        if count == room {
            self.own_room = (2 * self.own_room.max(SHARED_READ)).min(LARGEST_READ);
        }
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

    /// Reads for a protocol that is not HTTP: first what was read ahead.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let count = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }

    /// Gives back the memory that nothing is in: between requests none is held.
    pub(crate) fn release(&mut self) {
        if self.read.is_empty() && self.read.capacity() > 0 {
            self.read = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn no_memory_is_held_while_nothing_comes() {
        let (mut peer, io) = duplex(1 << 10);
        let mut wire = Wire::new(io);
        let mut context = Context::from_waker(Waker::noop());
        assert!(wire.poll_fill(&mut context).is_pending());
        assert_eq!(wire.read.capacity(), 0);

        peer.write_all(b"a word").await.unwrap();
        assert!(poll_fn(|context| wire.poll_fill(context)).await.unwrap());
        assert!(wire.poll_fill(&mut context).is_pending());
        assert_eq!(wire.read, "a word", "what is not used yet is kept");

        drop(wire.read.split());
        assert!(wire.poll_fill(&mut context).is_pending());
        assert_eq!(wire.read.capacity(), 0);

        let announced = 2 * LARGEST_READ;
        wire.read.reserve(announced);
        assert!(wire.poll_fill(&mut context).is_pending());
        assert!(wire.read.capacity() >= announced, "room that was made for what is to come stays");
    }
}
