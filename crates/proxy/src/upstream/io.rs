//! A connection's transport.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::{breaker::Permit, cluster::EndpointConnection, tls::MaybeTls};

/// Transport of a connection's bytes.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Counters of a connection, for as long as it is open.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) _by_breaker: Option<Permit>,
    pub(super) _by_endpoint: Option<EndpointConnection>,
}

/// An open connection, with what is to be given back when it closes, even after it was upgraded.
#[derive(Debug)]
pub(crate) struct Io {
    stream: MaybeTls<Transport>,
    _counted: Counted,
    /// The backend takes no more bytes. It may have answered before it hung up, so what is written goes nowhere and reading tells
    /// how the request ended: with that answer, or with the connection's end.
    deaf: bool,
}

impl Io {
    pub(super) fn new(stream: MaybeTls<Transport>, counted: Counted) -> Self {
        Self { stream, _counted: counted, deaf: false }
    }

    /// Whether a connection between two requests is as it should be: open, and with nothing to read. Where it is `fresh`, the system
    /// is asked only if the runtime has heard of something.
    pub(super) fn is_quiet(&mut self, fresh: bool) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let (transport, is_tls) = match &mut self.stream {
            MaybeTls::Clear(transport) => (&*transport, false),
            MaybeTls::Tls(stream) => (stream.get_ref().0, true),
        };
        if self.deaf || (transport.poll_read_ready(&mut context).is_pending() && fresh) {
            return !self.deaf;
        }
        match transport.peek() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            // The TLS of a quiet connection may have something to say: a ticket for its next session.
            Ok(1..) if is_tls => {
                let mut byte = [0];
                Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
            }
            _ => false,
        }
    }

    /// Closes it so that the backend cannot take what it has for all there was.
    pub(crate) fn abort(&self, cause: &io::Error) {
        if let MaybeTls::Clear(Transport::Tcp(stream)) = &self.stream
            && cause.kind() != io::ErrorKind::UnexpectedEof
        {
            crate::reset::reset(stream);
        }
    }

    /// Result of writing `length` bytes to a backend that may have hung up.
    fn taken(&mut self, written: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                self.deaf = true;
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => $call,
            Self::Unix($stream) => $call,
        }
    };
}

impl Transport {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Unix(stream) => stream.poll_read_ready(context),
        }
    }

    /// Result of a read right now.
    fn peek(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        match self {
            Self::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
            Self::Unix(stream) => SockRef::from(stream).peek(&mut byte),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.taken(written, bytes.len())
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.taken(written, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context).map_ok(|()| 0);
        self.taken(flushed, 0).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
