//! The way to an engine's metrics, where it is not plain TCP.

use std::{future::Future, io, net::SocketAddr, pin::Pin};

use tokio::io::{AsyncRead, AsyncWrite};

/// Opens connections to a pool's engines as requests to them do, in TLS for example.
pub trait Transport: Send + Sync {
    /// Opens a connection to the engine at this address.
    fn connect(&self, address: SocketAddr) -> Connecting;

    /// Tells it apart from others: one that opens the same connections has the same.
    fn identity(&self) -> u128;
}

/// A connection that is being opened.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}
