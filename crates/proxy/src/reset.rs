//! Connections that end by a reset.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Makes a connection's end a reset. Where that cannot be had it just ends.
pub(crate) fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
