//! The way to engines' metrics: TLS as for requests to them.

use std::{io, net::SocketAddr, sync::Arc};

use pailou_picker::{Connecting, Stream, Transport};
use pailou_snapshot::{Failure, Protocol, UpstreamTls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use xxhash_rust::xxh3::xxh3_128;

use crate::tls::{self, ClientTls};

/// TLS towards a pool's engines.
pub struct MetricsTransport {
    tls: Result<Arc<ClientTls>, Failure>,
    identity: u128,
}

/// TLS of a cluster: settings, none, or why those asked for cannot be had.
type Settings = Result<Option<Arc<UpstreamTls>>, Failure>;

impl MetricsTransport {
    /// The way to engines behind these settings; `None` is plain TCP. Where TLS cannot be had, nothing is read in the clear either.
    pub fn of(settings: &Settings) -> Option<Arc<dyn Transport>> {
        let identity = Self::identity_of(settings)?;
        let tls = match settings {
            Ok(None) => return None,
            Ok(Some(settings)) => ClientTls::new(settings, Protocol::Http1).map_err(|error| Failure(error.to_string().into())),
            Err(failure) => Err(failure.clone()),
        };
        Some(Arc::new(Self { tls, identity }))
    }

    /// The identity of the way to engines behind these settings.
    pub(crate) fn identity_of(settings: &Settings) -> Option<u128> {
        match settings {
            Ok(settings) => settings.as_ref().map(|settings| tls::identity(settings)),
            Err(failure) => Some(xxh3_128(failure.0.as_bytes())),
        }
    }
}

impl Transport for MetricsTransport {
    fn connect(&self, address: SocketAddr) -> Connecting {
        let tls = self.tls.clone();
        Box::pin(async move {
            let tls = tls.map_err(|failure| io::Error::other(failure.0.to_string()))?;
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let connector = TlsConnector::from(Arc::clone(&tls.config));
            let stream = connector.connect(tls.name_at(address), stream).await;
            let stream = stream.map_err(|error| io::Error::other(format!("TLS: {}", tls::reason(&error))))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn identity(&self) -> u128 {
        self.identity
    }
}
