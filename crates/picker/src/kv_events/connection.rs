//! One connection to a publisher's socket.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use pailou_kv_events::{ZmtpError, ZmtpEvent, ZmtpReader, ZmtpSocket, open_connection};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Time to connect, ZMTP's handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a host that may be gone is asked, and the time between questions. It is gone after 4 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_PROBES: u32 = 3;
/// Bytes that a read makes room for.
const READ_BYTES: usize = 64 << 10;

/// Why a connection is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no ZMTP handshake within 5 s")]
    Timeout,
    #[error("no message within 10 s")]
    Idle,
    #[error(transparent)]
    Protocol(#[from] ZmtpError),
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
    #[error("the publisher has closed the connection")]
    Closed,
}

/// A connection that is open.
pub(super) struct Connection {
    stream: TcpStream,
    reader: ZmtpReader,
}

impl Connection {
    /// Connects, and sends the first message.
    pub(super) async fn open(address: SocketAddr, socket: ZmtpSocket, first: &Bytes) -> Result<Self, ConnectionError> {
        let open = async {
            let stream = TcpStream::connect(address).await.map_err(ConnectionError::Connect)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
            stream.set_nodelay(true)?;
            let mut connection = Self { stream, reader: ZmtpReader::default() };
            connection.stream.write_all(&open_connection(socket)).await?;
            while connection.next_event().await? != ZmtpEvent::Ready {}
            connection.stream.write_all(first).await?;
            Ok(connection)
        };
        timeout(CONNECT_TIMEOUT, open).await.unwrap_or(Err(ConnectionError::Timeout))
    }

    /// The next message's frames. Nothing is lost if the future is dropped.
    pub(super) async fn next_message(&mut self) -> Result<Vec<Bytes>, ConnectionError> {
        loop {
            if let ZmtpEvent::Message(frames) = self.next_event().await? {
                return Ok(frames);
            }
        }
    }

    async fn next_event(&mut self) -> Result<ZmtpEvent, ConnectionError> {
        loop {
            if let Some(event) = self.reader.next_event()? {
                return Ok(event);
            }
            let buffer = self.reader.buffer();
            buffer.reserve(READ_BYTES);
            if self.stream.read_buf(buffer).await? == 0 {
                return Err(ConnectionError::Closed);
            }
        }
    }
}
