//! Connections opened ahead of the requests that will need them, as Envoy's `per_upstream_preconnect_ratio` has them: while requests use
//! an endpoint, some connections more than they need are open. An endpoint without requests gets none.

mod backoff;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use pailou_snapshot::{Address, CircuitBreaker, DnsSettings, Protocol, UpstreamHttp2};

pub(super) use self::backoff::PreconnectBackoff;
use super::{Destination, ProxyHeader, Upstreams, http1::ConnectionPermit, http2::Shared, io::Counted, pool::Group};
use crate::{
    breaker::{Breaker, Resource},
    cluster::EndpointState,
    local_addresses::LocalAddresses,
    tls::ClientTls,
};

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

/// One HTTP/2 connection that is being opened ahead, whose end comes however it ends.
struct SharedAhead(Arc<Group>, Option<Arc<Shared>>);

impl SharedAhead {
    fn end(mut self, shared: Option<Arc<Shared>>) {
        self.1 = shared;
    }
}

impl Drop for SharedAhead {
    fn drop(&mut self) {
        self.0.opened_shared_ahead(self.1.take());
    }
}

/// Parts that a destination borrows, for a task that outlives its request.
struct Borrowed {
    address: Address,
    tls: Option<Arc<ClientTls>>,
    breaker: Option<Arc<Breaker>>,
    limits: Option<CircuitBreaker>,
    endpoint: Option<Arc<EndpointState>>,
}

/// Parts that a destination does not borrow.
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
    /// have room. After one that fails the group pauses.
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
        if !serves_all(destination) {
            return;
        }
        let Some(counted) = group.begin_shared_ahead(percent, || spare(destination)) else { return };
        let ahead = SharedAhead(Arc::clone(group), None);
        let (own, plain) = Borrowed::of(destination);
        let upstreams = self.clone();
        tokio::spawn(async move {
            ahead.end(upstreams.connect_http2(&own.destination(plain), counted).await.ok());
        });
    }
}

/// Whether a connection serves whatever request comes next: one that begins with word of a client is that client's.
fn serves_all(destination: &Destination<'_>) -> bool {
    destination.proxy_protocol.is_none_or(|header| header.ends.is_none())
}

/// Whether the limits have room for one more connection. Counts nothing.
pub(super) fn has_room(destination: &Destination<'_>) -> bool {
    let limit = destination.limits.and_then(|limits| limits.max_endpoint_connections).unwrap_or(u32::MAX);
    destination.breaker.is_none_or(|breaker| breaker.has_room_for_connection(destination.limits))
        && destination.endpoint.is_none_or(|endpoint| endpoint.connections() < limit)
}

/// Counts a connection, where the limits have room for it and no request waits for that.
fn spare(destination: &Destination<'_>) -> Option<Counted> {
    let limits = destination.limits;
    // A request that waits may not have seen yet that a connection closed.
    let is_free = || destination.breaker.is_none_or(|breaker| breaker.active(Resource::Pending) == 0);
    if !is_free() || !has_room(destination) {
        return None;
    }
    let by_breaker = match destination.breaker {
        Some(breaker) => Some(breaker.connection(limits).ok()?),
        None => None,
    };
    let by_endpoint = match destination.endpoint {
        Some(endpoint) => Some(endpoint.connection(limits.and_then(|limits| limits.max_endpoint_connections)).ok()?),
        None => None,
    };
    // Again: a request of another worker may have begun to wait in between.
    is_free().then_some(Counted { _by_breaker: by_breaker, _by_endpoint: by_endpoint })
}

#[cfg(test)]
mod tests;
