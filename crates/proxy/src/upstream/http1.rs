//! HTTP/1.1 towards backends: one request at a time on each connection.
//!
//! There is no task for a connection: whoever sends the request writes it, and whoever reads the response reads it from the
//! socket. A request costs its own task's wake-ups and no others.

mod body;
mod error;
mod sending;
mod switched;

pub(super) use body::{Direct, Pumped};
pub use error::Http1Error;
pub use switched::Switched;

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    task::{Poll, ready},
    time::{Duration, Instant},
};

use http::{Method, Response, header};
use pailou_http1::{
    Framing, Malformed,
    response::{Head, Heads},
};
use pailou_snapshot::CircuitBreaker;
use tokio::time::timeout;

use self::sending::Sending;
use super::{
    Destination, Exchange, FailureKind, RequestHead, SendFailure, UpstreamBody, Upstreams, body::Rest, connect, io::Counted,
    pool::Group,
};
use crate::{
    breaker::{Breaker, Overflow},
    request_body::RequestBody,
};

/// A connection's bytes.
type Wire = crate::wire::Wire<super::Io>;

/// A connection that was idle for no longer than this is taken to be open, unless the runtime knows better already.
const SURELY_OPEN: Duration = Duration::from_millis(10);

/// An open connection.
struct Connection {
    wire: Wire,
    heads: Heads,
    remote: Option<SocketAddr>,
    permit: ConnectionPermit,
    opened: Instant,
    served: u32,
    /// It waited for a request, and may have been closed meanwhile.
    was_idle: bool,
}

/// A connection's place in its group, from before it is opened.
pub(super) struct ConnectionPermit(Arc<Group>);

impl ConnectionPermit {
    pub(super) fn new(group: &Arc<Group>) -> Self {
        group.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(group))
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        // A request that waits because of the endpoint's limit may open another.
        self.0.changed.notify_one();
    }
}

/// A connection that waits for its next request.
pub(super) struct Idle {
    connection: Box<Connection>,
    since: Instant,
    expires: Instant,
}

impl Idle {
    /// Whether it is still open and may still be used.
    pub(super) fn is_usable(&mut self, now: Instant) -> bool {
        let is_fresh = now.saturating_duration_since(self.since) < SURELY_OPEN;
        now < self.expires && self.connection.wire.io.is_quiet(is_fresh)
    }
}

/// A connection while it serves a request; dropped before the end, it closes.
pub(super) struct Lease {
    /// Boxed: it is handed around with whatever has it.
    connection: Box<Connection>,
    idle_timeout: Duration,
    /// When it may take no more requests.
    retires: Option<Instant>,
    max_requests: u32,
}

impl Idle {
    /// Keeps a connection for the next request, no longer than `timeout`, nor past the moment when it `retires`; whether there is
    /// room for it.
    fn keep(mut connection: Box<Connection>, timeout: Duration, retires: Option<Instant>) -> bool {
        let now = Instant::now();
        connection.was_idle = true;
        let Some(expires) = now.checked_add(timeout).map(|at| retires.map_or(at, |retires| at.min(retires))) else { return false };
        let group = Arc::clone(&connection.permit.0);
        group.push_idle(Self { connection, since: now, expires })
    }
}

impl Lease {
    fn new(mut connection: Box<Connection>, destination: &Destination<'_>) -> Self {
        connection.served = connection.served.saturating_add(1);
        Self {
            retires: destination.max_age.and_then(|age| connection.opened.checked_add(age)),
            connection,
            idle_timeout: destination.idle_timeout,
            max_requests: destination.limits.and_then(|limits| limits.max_requests_per_connection).unwrap_or(u32::MAX),
        }
    }

    /// Response and request have ended: the connection is kept for the next request.
    fn keep(mut self) {
        if !self.connection.wire.read.is_empty() {
            // Nobody asked for more.
            return;
        }
        self.connection.wire.release();
        let is_due = self.retires.is_some_and(|at| Instant::now() >= at) || self.connection.served >= self.max_requests;
        if !is_due {
            Idle::keep(self.connection, self.idle_timeout, self.retires);
        }
    }
}

impl Upstreams {
    pub(super) async fn send_http1(
        &self,
        group: &Arc<Group>,
        destination: &Destination<'_>,
        head: &RequestHead<'_>,
        body: RequestBody,
    ) -> Result<Exchange, Box<SendFailure>> {
        let idle = if destination.is_fresh { None } else { self.idle_http1(group) };
        let connection = match idle {
            Some(connection) => connection,
            // Boxed: rare, and far larger than what follows.
            None => match Box::pin(self.open_http1(group, destination)).await {
                Ok(connection) => connection,
                Err(kind) => return Err(SendFailure::before(kind, body)),
            },
        };
        if let Some(percent) = destination.preconnect {
            self.preconnect_http1(group, destination, percent);
        }
        let reused = connection.was_idle;
        let remote = connection.remote;
        let mut lease = Lease::new(connection, destination);
        let mut sending = Some(Sending::new(head, body));
        let Head { parts, framing, keeps_alive } = head_of(&mut lease.connection, &mut sending, head.method)
            .await
            .map_err(|error| SendFailure::during(FailureKind::of_http1(error), reused))?;
        if framing == Framing::Switched && !head.headers.contains_key(header::UPGRADE) {
            let error = Malformed::Message("the backend switches to a protocol that nobody asked for");
            return Err(SendFailure::during(FailureKind::of_http1(error.into()), reused));
        }
        let (body, switched) = match framing {
            Framing::Switched => (UpstreamBody::new(Rest::None), Some(Switched::new(lease.connection.wire))),
            framing => (body::body(lease, framing, keeps_alive, sending), None),
        };
        Ok(Exchange { response: Response::from_parts(parts, body), remote, reused, switched })
    }

    fn idle_http1(&self, group: &Group) -> Option<Box<Connection>> {
        let now = Instant::now();
        while let Some(mut idle) = group.pop_idle() {
            let was_ahead = idle.connection.served == 0;
            let is_usable = idle.is_usable(now);
            if is_usable && self.still_leads_there(group, idle.connection.remote) {
                if was_ahead {
                    group.preconnect_succeeded();
                }
                return Some(idle.connection);
            }
            // The endpoint accepts it and closes it.
            if was_ahead && !is_usable && now < idle.expires {
                group.preconnect_failed();
            }
        }
        None
    }

    /// Opens a connection, or takes one that comes free while the breaker allows no more.
    async fn open_http1(&self, group: &Arc<Group>, destination: &Destination<'_>) -> Result<Box<Connection>, FailureKind> {
        let Some(breaker) = destination.breaker else {
            let by_endpoint = destination.endpoint.map(|endpoint| endpoint.connection(None)).transpose()?;
            return self
                .connect_http1(ConnectionPermit::new(group), destination, Counted { _by_breaker: None, _by_endpoint: by_endpoint })
                .await;
        };
        let pending = breaker.pending(destination.limits)?;
        let limits = destination.limits;
        // As in Envoy, a worker without any connection to an endpoint may have one: those that fill the limit may sit idle with
        // other workers or endpoints, and would never come free.
        let is_first = group.open.load(Ordering::Relaxed) == 0 && limits.is_some_and(|limits| limits.max_connections > 0);
        let limits = if is_first { None } else { limits };
        let waiting = async {
            loop {
                tokio::select! {
                    biased;
                    counted = counted(group, destination, breaker, limits) => return Ok::<_, FailureKind>(Err(counted?)),
                    () = group.changed.notified() => {
                        if let Some(connection) = self.idle_http1(group) {
                            return Ok(Ok(connection));
                        }
                    }
                }
            }
        };
        let connection = match timeout(destination.connect_timeout, waiting).await {
            Ok(Ok(Ok(connection))) => Ok(connection),
            Ok(Ok(Err(counted))) => self.connect_http1(ConnectionPermit::new(group), destination, counted).await,
            Ok(Err(kind)) => Err(kind),
            Err(_) => Err(FailureKind::ConnectTimeout(destination.address.clone())),
        };
        drop(pending);
        connection
    }

    /// Opens a connection that is counted already, and keeps it for a request to come. One that fails, or that there is no room for,
    /// makes the group pause.
    pub(super) async fn open_ahead_http1(&self, permit: ConnectionPermit, destination: &Destination<'_>, counted: Counted) {
        let group = Arc::clone(&permit.0);
        let is_kept = self.connect_http1(permit, destination, counted).await.is_ok_and(|connection| {
            let retires = destination.max_age.and_then(|age| connection.opened.checked_add(age));
            Idle::keep(connection, destination.idle_timeout, retires)
        });
        if !is_kept {
            group.preconnect_failed();
        }
    }

    async fn connect_http1(
        &self,
        permit: ConnectionPermit,
        destination: &Destination<'_>,
        counted: Counted,
    ) -> Result<Box<Connection>, FailureKind> {
        let (io, remote) = connect::open(&self.dns, destination, counted).await?;
        let (wire, heads) = (Wire::new(io), Heads::default());
        Ok(Box::new(Connection { wire, heads, remote, permit, opened: Instant::now(), served: 0, was_idle: false }))
    }
}

/// Counts a connection, once there is room for it. Where the endpoint has none this does not end: a connection of the group that
/// comes free or closes has the caller ask again.
async fn counted(
    group: &Group,
    destination: &Destination<'_>,
    breaker: &Arc<Breaker>,
    limits: Option<&CircuitBreaker>,
) -> Result<Counted, Overflow> {
    let limit = destination.limits.and_then(|limits| limits.max_endpoint_connections);
    let by_endpoint = match destination.endpoint.map(|endpoint| endpoint.connection(limit)).transpose() {
        Ok(counted) => counted,
        Err(overflow) if limit == Some(0) => return Err(overflow),
        // Here too a worker without any connection may have one.
        Err(_) if group.open.load(Ordering::Relaxed) == 0 => {
            destination.endpoint.map(|endpoint| endpoint.connection(None)).transpose()?
        }
        Err(_) => std::future::pending().await,
    };
    Ok(Counted { _by_breaker: Some(breaker.connection_when_free(limits).await?), _by_endpoint: by_endpoint })
}

/// Sends a request until the response's head is there, which may come before all of it is sent.
async fn head_of(connection: &mut Connection, sending: &mut Option<Sending>, method: &Method) -> Result<Head, Http1Error> {
    let Connection { wire, heads, .. } = connection;
    poll_fn(|context| {
        if let Some(request) = sending
            && request.poll(wire, context)?.is_ready()
        {
            *sending = None;
        }
        loop {
            if let Some(head) = heads.take(&mut wire.read, method)? {
                return Poll::Ready(Ok(head));
            }
            if !ready!(wire.poll_fill(context))? {
                return Poll::Ready(Err(Http1Error::Closed));
            }
        }
    })
    .await
}
