//! A client's connection that is handed on as a whole.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::{ServerConfig, server::Accepted};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::StartHandshake;

use super::port::ConnectionPermit;
use crate::{reset::reset, tls::MaybeTls};

/// A client's connection of which nothing was answered yet.
pub struct Client {
    pub(super) opening: Opening,
    pub(super) permit: ConnectionPermit,
}

/// Treatment of its first bytes.
pub(super) enum Opening {
    /// They are the backend's.
    Forwarded { stream: TcpStream, ahead: Bytes },
    /// They begin a handshake with the gateway.
    Handshake { stream: TcpStream, accepted: Box<Accepted>, config: Arc<ServerConfig> },
}

/// A client's connection that can be read from and written to.
pub(crate) struct ClientStream {
    pub(crate) stream: MaybeTls<TcpStream>,
    ahead: Bytes,
    _permit: ConnectionPermit,
}

impl Client {
    /// Whether TLS ends here.
    pub(crate) fn ends_tls(&self) -> bool {
        matches!(self.opening, Opening::Handshake { .. })
    }

    /// Goes through with the handshake, where there is one to be had.
    ///
    /// # Errors
    /// The handshake failed, or was not done in time.
    pub(crate) async fn open(self) -> io::Result<ClientStream> {
        let (stream, ahead) = match self.opening {
            Opening::Forwarded { stream, ahead } => (MaybeTls::Clear(stream), ahead),
            Opening::Handshake { stream, accepted, config } => {
                let handshake = Box::pin(StartHandshake::from_parts(*accepted, stream).into_stream(config));
                let stream = timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
                (MaybeTls::Tls(Box::new(stream.into())), Bytes::new())
            }
        };
        Ok(ClientStream { stream, ahead, _permit: self.permit })
    }
}

/// Bound on a TLS handshake, from the ClientHello's end.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

impl ClientStream {
    /// Bytes already read.
    pub(crate) fn take_ahead(&mut self) -> Bytes {
        std::mem::take(&mut self.ahead)
    }

    /// Closes it so that the client cannot take what it has for all there was: TLS that just ends says so, TCP has to be reset.
    pub(crate) fn abort(&self, cause: &io::Error) {
        if let MaybeTls::Clear(stream) = &self.stream
            && cause.kind() != io::ErrorKind::UnexpectedEof
        {
            reset(stream);
        }
    }
}
