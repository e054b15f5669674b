//! Connections opened ahead of the requests that will need them, as Envoy's `per_upstream_preconnect_ratio` has them: while requests use
//! an endpoint, some connections more than they need are open. An endpoint without requests gets none.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use pailou_snapshot::{Address, CircuitBreaker, DnsSettings, Protocol, UpstreamHttp2};

use super::{Destination, ProxyHeader, Upstreams, http1::ConnectionPermit, http2::Opening, io::Counted, pool::Group};
use crate::{breaker::Breaker, cluster::EndpointState, local_addresses::LocalAddresses, tls::ClientTls};

/// Most connections that a worker opens ahead to one endpoint at once (Envoy's bound for one request).
const MAX_OPENING: usize = 3;

/// One connection that is being opened ahead.
struct Ahead(Arc<Group>);

impl Ahead {
    fn new(group: &Arc<Group>) -> Self {
        group.ahead.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(group))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.ahead.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a destination borrows, for a task that outlives its request.
struct Borrowed {
    address: Address,
    tls: Option<Arc<ClientTls>>,
    breaker: Option<Arc<Breaker>>,
    limits: Option<CircuitBreaker>,
    endpoint: Option<Arc<EndpointState>>,
}

/// What a destination does not borrow.
#[derive(Clone, Copy)]
struct Plain {
    protocol: Protocol,
    connect_timeout: Duration,
    idle_timeout: Duration,
    max_age: Option<Duration>,
    tcp_keepalive: Option<Duration>,
    proxy_protocol: Option<ProxyHeader>,
    local_addresses: LocalAddresses,
    dns: DnsSettings,
    http2: UpstreamHttp2,
    is_watched: bool,
}

impl Borrowed {
    fn of(destination: &Destination<'_>) -> (Self, Plain) {
        let own = Self {
            address: destination.address.clone(),
            tls: destination.tls.cloned(),
            breaker: destination.breaker.cloned(),
            limits: destination.limits.cloned(),
            endpoint: destination.endpoint.cloned(),
        };
        let Destination { protocol, connect_timeout, idle_timeout, max_age, tcp_keepalive, .. } = *destination;
        let Destination { proxy_protocol, local_addresses, dns, http2, is_watched, .. } = *destination;
        let plain = Plain {
            protocol,
            connect_timeout,
            idle_timeout,
            max_age,
            tcp_keepalive,
            proxy_protocol,
            local_addresses,
            dns,
            http2,
            is_watched,
        };
        (own, plain)
    }

    fn destination(&self, plain: Plain) -> Destination<'_> {
        Destination {
            address: &self.address,
            tls: self.tls.as_ref(),
            protocol: plain.protocol,
            connect_timeout: plain.connect_timeout,
            idle_timeout: plain.idle_timeout,
            max_age: plain.max_age,
            tcp_keepalive: plain.tcp_keepalive,
            breaker: self.breaker.as_ref(),
            limits: self.limits.as_ref(),
            proxy_protocol: plain.proxy_protocol,
            local_addresses: plain.local_addresses,
            is_fresh: true,
            is_watched: plain.is_watched,
            dns: plain.dns,
            http2: plain.http2,
            preconnect: None,
            endpoint: self.endpoint.as_ref(),
        }
    }
}

impl Upstreams {
    /// Has HTTP/1.1 connections opened until `percent` of those that serve requests are open, [`MAX_OPENING`] at once, where the limits
    /// have room. One that fails is not opened again before the next request.
    pub(super) fn preconnect_http1(&self, group: &Arc<Group>, destination: &Destination<'_>, percent: u16) {
        while group.ahead.load(Ordering::Relaxed) < MAX_OPENING && serves_all(destination) && group.lacks_connections(percent) {
            let Some(counted) = spare(destination) else { return };
            let (own, plain) = Borrowed::of(destination);
            let (upstreams, group) = (self.clone(), Arc::clone(group));
            let permit = ConnectionPermit::new(&group);
            let ahead = Ahead::new(&group);
            tokio::spawn(async move {
                upstreams.open_ahead_http1(permit, &own.destination(plain), counted).await;
                drop(ahead);
            });
        }
    }

    /// Has one further HTTP/2 connection opened where those there are allow fewer requests than `percent` of those under way.
    pub(super) fn preconnect_http2(&self, group: &Arc<Group>, destination: &Destination<'_>, percent: u16) {
        let has_room = destination.breaker.is_none_or(|breaker| breaker.has_room_for_connection(destination.limits));
        if !has_room || !serves_all(destination) || !group.begin_shared_ahead(percent) {
            return;
        }
        let (own, plain) = Borrowed::of(destination);
        let (upstreams, group) = (self.clone(), Arc::clone(group));
        tokio::spawn(async move {
            let mut opening = Opening(&group, None);
            opening.1 = upstreams.connect_http2(&group, &own.destination(plain)).await.ok();
        });
    }
}

/// Whether a connection serves whatever request comes next: one that begins with word of a client is that client's.
fn serves_all(destination: &Destination<'_>) -> bool {
    destination.proxy_protocol.is_none_or(|header| header.ends.is_none())
}

/// Counts a connection, where the limits have room for it.
fn spare(destination: &Destination<'_>) -> Option<Counted> {
    let limits = destination.limits;
    let by_endpoint = match destination.endpoint {
        Some(endpoint) => Some(endpoint.connection(limits.and_then(|limits| limits.max_endpoint_connections)).ok()?),
        None => None,
    };
    let by_breaker = match destination.breaker {
        Some(breaker) if !breaker.has_room_for_connection(limits) => return None,
        Some(breaker) => Some(breaker.connection(limits).ok()?),
        None => None,
    };
    Some(Counted { _by_breaker: by_breaker, _by_endpoint: by_endpoint })
}
