//! The one way from a cluster's endpoint to a destination.

use std::sync::Arc;

use http::Version;
use pailou_snapshot::{CircuitBreaker, Failure, Protocol, Timeouts};

use super::{Destination, ProxyHeader};
use crate::{
    breaker::Breaker,
    cluster::{ClusterSettings, EndpointState},
};

/// Limits that a destination is under.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits<'a> {
    /// Counter of connections and of requests that wait for one.
    pub(crate) breaker: Option<&'a Arc<Breaker>>,
    /// The breaker's limits.
    pub(crate) limits: Option<&'a CircuitBreaker>,
}

/// The destination that an endpoint of a cluster is: with the cluster's protocol, TLS and keep-alive, under a rule's clocks and
/// limits.
///
/// # Errors
/// TLS was asked for and cannot be had.
pub(crate) fn dial<'a>(
    settings: &'a ClusterSettings,
    endpoint: &'a Arc<EndpointState>,
    timeouts: &Timeouts,
    Limits { breaker, limits }: Limits<'a>,
) -> Result<Destination<'a>, Failure> {
    Ok(Destination {
        tls: settings.tls.as_ref().map_err(Failure::clone)?.as_ref(),
        protocol: settings.cluster.protocol,
        tcp_keepalive: settings.cluster.tcp_keepalive,
        proxy_protocol: settings.cluster.proxy_protocol.map(|version| ProxyHeader { version, ends: None }),
        dns: settings.cluster.connection.dns,
        http2: settings.cluster.connection.http2,
        preconnect: settings.cluster.connection.preconnect,
        local_addresses: settings.local_addresses,
        breaker,
        limits,
        endpoint: Some(endpoint),
        ..Destination::new(&endpoint.endpoint().address, timeouts)
    })
}

/// The same destination in the HTTP version that the client speaks, where the cluster follows it.
pub(crate) fn in_version_of<'a>(destination: Destination<'a>, settings: &'a ClusterSettings, client: Version) -> Destination<'a> {
    let protocol = if client == Version::HTTP_2 { Protocol::Http2 } else { Protocol::Http1 };
    if !settings.cluster.connection.follows_client || protocol == settings.cluster.protocol {
        return destination;
    }
    Destination { protocol, tls: settings.other_tls.as_ref(), ..destination }
}
