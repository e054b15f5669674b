//! A client's connection that is no longer HTTP.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

use super::line::SharedLine;

/// The connection of a request that asks for another protocol, once the client has been told that it gets it. An error where it does not.
pub(crate) struct OnUpgrade(pub(super) oneshot::Receiver<Upgraded>);

impl OnUpgrade {
    /// Waits until the response has been sent; `None` where the client left before.
    pub(crate) async fn upgraded(self) -> Option<Upgraded> {
        self.0.await.ok()
    }
}

/// A connection that both sides have agreed to use for another protocol.
pub(crate) struct Upgraded(SharedLine);

impl Upgraded {
    pub(super) fn new(line: SharedLine) -> Self {
        Self(line)
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.lock().wire.poll_read(context, buffer)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.lock().wire.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.lock().wire.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().wire.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().wire.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().wire.io).poll_shutdown(context)
    }
}
