//! Connections to backends: opened, kept, shared and given up.
//!
//! Each worker has its own. An HTTP/1.1 connection serves one request at a time and waits idle in between, the last used first in
//! line; HTTP/2 connections are shared by as many requests as the backend allows. A request that ends before its time takes
//! its HTTP/1.1 connection, or its HTTP/2 stream, with it.

mod body;
mod connect;
mod dial;
mod failure;
mod head;
mod http1;
mod http2;
mod io;
mod pool;
mod preconnect;
mod raw;

pub use body::UpstreamBody;
pub(crate) use dial::{Limits, dial, in_version_of};
pub use failure::{ExchangeError, FailureKind, SendFailure, Sent};
pub use head::RequestHead;
pub use http1::{Http1Error, Switched};
pub(crate) use io::Io;
pub use pailou_http1::Malformed;
pub(crate) use raw::connect_unlimited;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use pailou_snapshot::{Address, CircuitBreaker, DnsSettings, Protocol, ProxyProtocolVersion, Timeouts, UpstreamHttp2};

use self::{
    head::Owned,
    pool::{Group, Key, Pool},
};
use crate::{
    breaker::Breaker, cluster::EndpointState, dns::Dns, local_addresses::LocalAddresses, proxy_protocol::Ends,
    request_body::RequestBody, tls::ClientTls,
};

/// A worker's connections to all backends. Clones share them.
#[derive(Clone)]
pub struct Upstreams {
    dns: Dns,
    pool: Arc<Pool>,
}

/// Destination of a request, and its rules.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The endpoint.
    pub address: &'a Address,
    /// TLS towards it.
    pub tls: Option<&'a Arc<ClientTls>>,
    /// Protocol towards it.
    pub protocol: Protocol,
    /// Bound on name lookup, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// The age at which a connection takes no more requests.
    pub max_age: Option<Duration>,
    /// TCP keep-alive probes start after this idle time, if at all.
    pub tcp_keepalive: Option<Duration>,
    /// Counter of connections and of requests that wait for one.
    pub breaker: Option<&'a Arc<Breaker>>,
    /// The breaker's limits.
    pub limits: Option<&'a CircuitBreaker>,
    /// Word of the client that the connection begins with.
    pub proxy_protocol: Option<ProxyHeader>,
    /// Whether it may be the machine itself.
    pub local_addresses: LocalAddresses,
    /// Whether a kept connection over HTTP/1.1 will not do.
    pub is_fresh: bool,
    /// Whether an HTTP/2 connection that is silent under a request is found out in seconds.
    pub is_watched: bool,
    /// Resolution of the endpoint's name.
    pub dns: DnsSettings,
    /// HTTP/2 towards it.
    pub http2: UpstreamHttp2,
    /// Connections to be open, in percent of those that requests need; `None`: no more than those.
    pub preconnect: Option<u16>,
    /// Counter of the connections to the endpoint alone.
    pub endpoint: Option<&'a Arc<EndpointState>>,
}

impl<'a> Destination<'a> {
    /// A destination under a rule's clocks, in clear text over HTTP/1.1, without further limits.
    pub fn new(address: &'a Address, timeouts: &Timeouts) -> Self {
        Self {
            address,
            tls: None,
            protocol: Protocol::Http1,
            connect_timeout: timeouts.connect,
            idle_timeout: timeouts.connection_idle,
            max_age: timeouts.max_connection_age,
            tcp_keepalive: None,
            breaker: None,
            limits: None,
            proxy_protocol: None,
            local_addresses: LocalAddresses::Allowed,
            is_fresh: false,
            is_watched: false,
            dns: DnsSettings::default(),
            http2: UpstreamHttp2::default(),
            preconnect: None,
            endpoint: None,
        }
    }
}

/// Header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProxyHeader {
    /// Its version.
    pub version: ProxyProtocolVersion,
    /// The client's connection; `None` for the gateway's own.
    pub ends: Option<Ends>,
}

impl Destination<'_> {
    /// The same on behalf of a client, whose connection has these ends.
    pub(crate) fn on_behalf_of(mut self, ends: Ends) -> Self {
        if let Some(header) = &mut self.proxy_protocol {
            header.ends = Some(ends);
        }
        self
    }
}

/// A response that has begun.
#[derive(Debug)]
pub struct Exchange {
    /// Its head, and its body as it comes. Dropping the body before its end closes the connection, or resets the stream.
    pub response: Response<UpstreamBody>,
    /// The backend's address; `None` on a Unix socket.
    pub remote: Option<SocketAddr>,
    /// The connection had served requests before.
    pub reused: bool,
    /// The connection, where the response says that it is no longer HTTP (101, or 2xx to CONNECT).
    pub switched: Option<Switched>,
}

impl Upstreams {
    /// No connections yet. Those to come live on the runtime that [`Upstreams::send`] is called on, which must be one and the
    /// same, of a single thread.
    pub fn new(dns: Dns) -> Self {
        Self { dns, pool: Arc::default() }
    }

    /// Sends a request and waits for the response's head, while its body goes out. Dropping the future gives the request up.
    ///
    /// A kept connection that turns out to be closed before anything is sent is replaced by another.
    ///
    /// # Errors
    /// Says what went wrong and whether the backend may have seen the request; a body of which nothing was sent is given back.
    pub async fn send(
        &self,
        destination: &Destination<'_>,
        head: &RequestHead<'_>,
        body: RequestBody,
    ) -> Result<Exchange, Box<SendFailure>> {
        let named = destination.tls.and_then(|tls| tls.for_host(head.host));
        let destination = &Destination { tls: named.as_ref().or(destination.tls), ..*destination };
        let group = self.pool.group(&Key::of(destination));
        match destination.protocol {
            Protocol::Http1 | Protocol::Opaque => self.send_http1(&group, destination, head, body).await,
            // Boxed: every request would otherwise carry the room it needs.
            Protocol::Http2 => {
                let request = head.http2(destination.tls.is_some(), body);
                Box::pin(self.send_http2(&group, destination, request)).await
            }
        }
    }

    /// The same for a request that is at hand as a whole. `Host`, or else its URI, says who is asked.
    ///
    /// # Errors
    /// As [`Upstreams::send`].
    pub async fn send_request(
        &self,
        destination: &Destination<'_>,
        request: Request<RequestBody>,
    ) -> Result<Exchange, Box<SendFailure>> {
        let (head, body) = Owned::of(request);
        self.send(destination, &head.head(), body).await
    }

    /// Resolver of names.
    pub(crate) fn dns(&self) -> &Dns {
        &self.dns
    }

    /// Closes the idle connections to endpoints that are no longer there; those in use are closed with their request.
    pub fn retain(&self, is_there: impl Fn(&Address) -> bool) {
        self.pool.retain(is_there);
    }

    /// Idle connections and shared ones, for metrics.
    pub fn kept(&self) -> usize {
        self.pool.kept()
    }

    /// Whether a kept connection still leads to where its name leads.
    fn still_leads_there(&self, group: &Group, remote: Option<SocketAddr>) -> bool {
        match (group.address(), remote) {
            (Address::Dns { host, port }, Some(remote)) => self.dns.still_holds(host, *port, group.dns(), remote),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
