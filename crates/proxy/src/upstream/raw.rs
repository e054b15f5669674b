//! Connections of which only the two ends know what is spoken on them.

use std::net::SocketAddr;

use super::{
    Destination, FailureKind, Upstreams, connect,
    io::{Counted, Io},
};
use crate::dns::Dns;

/// Opens a connection that no limit holds back, for a request of the gateway's own apart from all others: a health check.
///
/// # Errors
/// No connection could be made.
pub(crate) async fn connect_unlimited(dns: &Dns, destination: &Destination<'_>) -> Result<Io, FailureKind> {
    connect::open(dns, destination, Counted::default()).await.map(|(io, _)| io)
}

impl Upstreams {
    /// Opens a connection that is nobody else's, in TLS where the destination asks for it. It is counted until it is dropped.
    ///
    /// # Errors
    /// No connection could be made, or a limit forbids one.
    pub(crate) async fn connect(&self, destination: &Destination<'_>) -> Result<(Io, Option<SocketAddr>), FailureKind> {
        let limits = destination.limits;
        let counted = Counted {
            _by_breaker: destination.breaker.map(|breaker| breaker.connection(limits)).transpose()?,
            _by_endpoint: destination
                .endpoint
                .map(|endpoint| endpoint.connection(limits.and_then(|limits| limits.max_endpoint_connections)))
                .transpose()?,
        };
        connect::open(&self.dns, destination, counted).await
    }
}
