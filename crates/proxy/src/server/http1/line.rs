//! A client's connection, as its task and the body of the request under way share it.

use std::{
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use pailou_http1::Framing;
use parking_lot::Mutex;

use crate::{
    server::{ClientBodyError, io::ClientIo},
    wire::Wire,
};

/// Interim response for a client that asks whether its body is wanted (RFC 9110, 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Of a body that nobody wants, so much is read to save the connection.
const MOST_DRAINED: usize = 64 << 10;
/// Room that is made ahead for a body, however long it is said to be; beyond, what has come is doubled.
const MOST_AHEAD: usize = 1 << 20;

/// A shared [`Line`]. It is never locked while a request's or a response's own code runs.
pub(super) type SharedLine = Arc<Mutex<Line>>;

/// A client's connection.
pub(super) struct Line {
    pub(super) wire: Wire<ClientIo>,
    /// Of the body of the request under way.
    pub(super) framing: Framing,
    /// Nobody reads that body any more.
    is_unread: bool,
    /// It is not as it should be: where the next request begins is not known.
    is_broken: bool,
    /// Interim response to send before the body comes, and whether sending has begun.
    interim: &'static [u8],
    /// The connection's task, while another reads the body.
    waiting: Option<Waker>,
}

impl Line {
    pub(super) fn new(io: ClientIo, ahead: BytesMut) -> Self {
        let mut wire = Wire::new(io);
        wire.read = ahead;
        Self { wire, framing: Framing::Length(0), is_unread: false, is_broken: false, interim: b"", waiting: None }
    }

    /// A request whose body ends so, and that may ask whether it is wanted.
    pub(super) fn begin(&mut self, framing: Framing, asks: bool) {
        self.framing = framing;
        self.is_unread = false;
        self.interim = if asks { CONTINUE } else { b"" };
    }

    /// The next part of the body, for whoever reads it.
    pub(super) fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let frame = ready!(self.poll_frame(context));
        self.is_broken |= frame.is_err();
        if self.is_broken || self.framing.is_over() {
            self.wake();
        }
        Poll::Ready(frame.transpose())
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, ClientBodyError>> {
        loop {
            if self.is_broken {
                return Poll::Ready(Err(ClientBodyError::Closed));
            }
            if let Some(frame) = self.framing.take(&mut self.wire.read)? {
                return Poll::Ready(Ok(Some(frame)));
            }
            if self.framing.is_over() {
                return Poll::Ready(Ok(None));
            }
            ready!(self.poll_more(context))?;
        }
    }

    /// Reads on in a body of known length without taking it; how much of it is there.
    pub(super) fn poll_gather(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, ClientBodyError>> {
        let left = self.framing.left().unwrap_or(0);
        let there = self.wire.read.len();
        if (there as u64) < left {
            let missing = usize::try_from(left).unwrap_or(usize::MAX) - there;
            self.wire.read.reserve(missing.min(there.max(MOST_AHEAD)));
            ready!(self.poll_more(context))?;
        }
        Poll::Ready(Ok(self.gathered().len() as u64))
    }

    /// Bytes that have arrived of a body of known length.
    pub(super) fn gathered(&self) -> &[u8] {
        let left = usize::try_from(self.framing.left().unwrap_or(0)).unwrap_or(usize::MAX);
        &self.wire.read[..left.min(self.wire.read.len())]
    }

    /// Reads on, the client being told to send where it waits for that.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ClientBodyError>> {
        ready!(self.poll_interim(context))?;
        match ready!(self.wire.poll_fill(context))? {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(ClientBodyError::Closed)),
        }
    }

    fn poll_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = ready!(self.wire.poll_write(context, &[IoSlice::new(self.interim)]))?;
            self.interim = &self.interim[written..];
        }
        Poll::Ready(Ok(()))
    }

    /// Writes some of a response.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.interim.len() == CONTINUE.len() {
            // The answer says it as well.
            self.interim = b"";
        }
        ready!(self.poll_interim(context))?;
        self.wire.poll_write(context, slices)
    }

    /// Whether the client has gone while its request is served. It is not noticed before it has sent its body, nor while it has another
    /// request waiting.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.framing.is_over() {
            self.wait(context);
            return Poll::Pending;
        }
        self.wire.release();
        // Room to read into is made only when there is something to be read.
        while self.wire.read.is_empty() {
            ready!(self.wire.io.poll_readable(context));
            if !matches!(ready!(self.wire.poll_fill(context)), Ok(true)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// After a response: ready when the request's body is through as well, or nobody wants it; whether the connection can be used on.
    pub(super) fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.is_broken || self.framing.is_over() {
            return Poll::Ready(!self.is_broken);
        }
        if self.is_unread {
            return Poll::Ready(self.drain(context));
        }
        self.wait(context);
        Poll::Pending
    }

    /// Throws away what has come of a body that nobody wants; whether that was all of it.
    fn drain(&mut self, context: &mut Context<'_>) -> bool {
        let mut drained = 0;
        while self.interim.is_empty() && drained < MOST_DRAINED {
            match self.framing.take(&mut self.wire.read) {
                Ok(Some(frame)) => drained += frame.data_ref().map_or(0, Bytes::len),
                Ok(None) if self.framing.is_over() => return true,
                Ok(None) if matches!(self.wire.poll_fill(context), Poll::Ready(Ok(true))) => {}
                Ok(None) | Err(_) => return false,
            }
        }
        false
    }

    /// Nobody reads the body any more.
    pub(super) fn abandon(&mut self) {
        self.is_unread = true;
        self.wake();
    }

    /// Has the connection's task told when the body is through.
    fn wait(&mut self, context: &mut Context<'_>) {
        if !self.waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waiting = Some(context.waker().clone());
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}
