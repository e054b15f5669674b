//! Keepalive probes of TCP connections. A connection is served without them where the system refuses its settings.

use std::sync::Once;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

static REFUSED: Once = Once::new();

/// Has the system probe a connection without traffic.
pub(crate) fn set(stream: &TcpStream, keepalive: &TcpKeepalive) {
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(keepalive) {
        // Each connection would say the same.
        REFUSED.call_once(|| tracing::warn!(%error, "the system refuses the settings of tcpKeepalive: its own hold"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_setting_that_the_system_refuses_leaves_the_connection_as_it_is() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set(&stream, &TcpKeepalive::new().with_time(Duration::from_secs(24 * 3600)));
        assert!(stream.writable().await.is_ok());
        set(&stream, &TcpKeepalive::new().with_time(Duration::from_secs(77)));
        assert_eq!(SockRef::from(&stream).tcp_keepalive_time().unwrap(), Duration::from_secs(77));
    }
}
