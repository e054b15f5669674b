//! A cluster's settings.

use std::sync::Arc;

use pailou_snapshot::{Cluster, Failure, Protocol, UpstreamTls};

use crate::{local_addresses::LocalAddresses, tls::ClientTls};

/// Settings, and what is made of them once.
#[derive(Debug)]
pub(crate) struct ClusterSettings {
    /// As the snapshot has them.
    pub(crate) cluster: Arc<Cluster>,
    /// TLS towards its endpoints, or why TLS that was asked for cannot be had: requests are answered 500, never sent in the clear.
    /// `Ok(None)` is plaintext because nobody asked for more.
    pub(crate) tls: Result<Option<Arc<ClientTls>>, Failure>,
    /// The same TLS for HTTP/1.1 in place of HTTP/2, or the other way round, where requests may go in either.
    pub(crate) other_tls: Option<Arc<ClientTls>>,
    /// Whether its endpoints may be the machine itself.
    pub(crate) local_addresses: LocalAddresses,
}

impl ClusterSettings {
    /// Keeps the old TLS configuration, with the sessions that it can resume, where the settings are the same.
    pub(super) fn new(cluster: Arc<Cluster>, local_addresses: LocalAddresses, old: Option<&Self>) -> Self {
        let tls = match &cluster.tls {
            Err(failure) => Err(failure.clone()),
            Ok(None) => Ok(None),
            Ok(Some(settings)) => match old {
                Some(old) if old.has_tls(settings, cluster.protocol) => old.tls.clone(),
                _ => ClientTls::new(settings, cluster.protocol).map(Some).map_err(|error| Failure(error.to_string().into())),
            },
        };
        let other = if cluster.protocol == Protocol::Http2 { Protocol::Http1 } else { Protocol::Http2 };
        let follows_client = cluster.connection.follows_client;
        let other_tls = tls.iter().flatten().filter(|_| follows_client).map(|tls| Arc::new(tls.over(other))).next();
        Self { cluster, tls, other_tls, local_addresses }
    }

    fn has_tls(&self, settings: &UpstreamTls, protocol: Protocol) -> bool {
        self.cluster.protocol == protocol && matches!(&self.tls, Ok(Some(own)) if own.is_made_from(settings))
    }
}
