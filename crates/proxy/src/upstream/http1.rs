//! HTTP/1.1 towards backends: one request at a time on each connection.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use http::{Request, StatusCode};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use pailou_config::snapshot::CircuitBreaker;
use tokio::{task::AbortHandle, time::timeout};

use super::{
    Destination, Exchange, FailureKind, SendFailure, UpstreamBody, Upstreams,
    body::Hold,
    connect,
    io::{Counted, Io},
    pool::Group,
};
use crate::{
    body::RequestBody,
    breaker::{Breaker, Overflow},
};

/// Bound on a response's head, and on what is read ahead of a slow reader.
const READ_BUFFER: usize = 64 << 10;
/// After a response has ended, what may still be missing of the request gets this long to go out; then the connection closes.
const UPLOAD_GRACE: Duration = Duration::from_millis(100);

/// An open connection.
struct Connection {
    sender: SendRequest<RequestBody>,
    remote: Option<SocketAddr>,
    /// `None` once the connection is no longer HTTP, and ends with whoever has taken it over.
    task: Option<AbortHandle>,
    place: Place,
    opened: Instant,
    served: u32,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nothing else ends a connection that waits for a backend which is silent.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A connection's place in its group, from before it is opened.
struct Place(Arc<Group>);

impl Place {
    fn new(group: &Arc<Group>) -> Self {
        group.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(group))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        // Whoever waits because of the endpoint's limit may open another.
        self.0.changed.notify_one();
    }
}

/// A connection that waits for its next request.
pub(super) struct Idle {
    connection: Connection,
    expires: Instant,
}

impl Idle {
    /// Whether it is still open and may still be used.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.connection.sender.is_ready() && now < self.expires
    }
}

/// A connection while it serves a request; dropped before the end, it closes.
pub(super) struct Lease {
    connection: Connection,
    idle_timeout: Duration,
    /// When it may take no more requests.
    retires: Option<Instant>,
    max_requests: u32,
}

impl Lease {
    fn new(mut connection: Connection, destination: &Destination<'_>) -> Self {
        connection.served = connection.served.saturating_add(1);
        Self {
            retires: destination.max_age.and_then(|age| connection.opened.checked_add(age)),
            connection,
            idle_timeout: destination.idle_timeout,
            max_requests: destination.limits.and_then(|limits| limits.max_requests_per_connection).unwrap_or(u32::MAX),
        }
    }

    /// The response has ended: the connection is kept for the next request.
    pub(super) fn finish(self) {
        if self.connection.sender.is_ready() {
            self.keep();
        } else if !self.connection.sender.is_closed() {
            tokio::spawn(async move {
                let mut lease = self;
                if let Ok(Ok(())) = timeout(UPLOAD_GRACE, lease.connection.sender.ready()).await {
                    lease.keep();
                }
            });
        }
    }

    /// The connection is no longer HTTP.
    fn switched(mut self) {
        self.connection.task = None;
    }

    fn keep(self) {
        let now = Instant::now();
        let is_due = self.retires.is_some_and(|at| now >= at) || self.connection.served >= self.max_requests;
        let expires = now.checked_add(self.idle_timeout).map(|at| self.retires.map_or(at, |retires| at.min(retires)));
        if let (false, Some(expires)) = (is_due, expires) {
            let group = Arc::clone(&self.connection.place.0);
            group.push_idle(Idle { connection: self.connection, expires });
        }
    }
}

impl Upstreams {
    pub(super) async fn send_http1(
        &self,
        group: &Arc<Group>,
        destination: &Destination<'_>,
        mut request: Request<RequestBody>,
    ) -> Result<Exchange, Box<SendFailure>> {
        let mut take_idle = true;
        loop {
            let idle = if take_idle { self.idle_http1(group) } else { None };
            let connection = match idle {
                Some(connection) => connection,
                None => match self.open_http1(group, destination, take_idle).await {
                    Ok(connection) => connection,
                    Err(kind) => return Err(SendFailure::before(kind, request)),
                },
            };
            let reused = connection.served > 0;
            let remote = connection.remote;
            let mut lease = Lease::new(connection, destination);
            match lease.connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let hold = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                        lease.switched();
                        None
                    } else {
                        Some(Hold::Http1(lease))
                    };
                    let response = response.map(|body| UpstreamBody::new(body, hold));
                    return Ok(Exchange { response, remote, reused });
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused && take_idle => {
                        request = unsent;
                        take_idle = false;
                    }
                    unsent => return Err(SendFailure::during(error.into_error(), reused, unsent)),
                },
            }
        }
    }

    fn idle_http1(&self, group: &Group) -> Option<Connection> {
        let now = Instant::now();
        while let Some(idle) = group.pop_idle() {
            if idle.is_usable(now) && self.still_leads_there(group, idle.connection.remote) {
                return Some(idle.connection);
            }
        }
        None
    }

    /// Opens a connection, or takes one that comes free while the breaker allows no more.
    async fn open_http1(
        &self,
        group: &Arc<Group>,
        destination: &Destination<'_>,
        take_idle: bool,
    ) -> Result<Connection, FailureKind> {
        let Some(breaker) = destination.breaker else {
            let by_endpoint = destination.endpoint.map(|endpoint| endpoint.connection(None)).transpose()?;
            return self.connect_http1(group, destination, Counted { _by_breaker: None, _by_endpoint: by_endpoint }).await;
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
                        if take_idle && let Some(connection) = self.idle_http1(group) {
                            return Ok(Ok(connection));
                        }
                    }
                }
            }
        };
        let connection = match timeout(destination.connect_timeout, waiting).await {
            Ok(Ok(Ok(connection))) => Ok(connection),
            Ok(Ok(Err(counted))) => self.connect_http1(group, destination, counted).await,
            Ok(Err(kind)) => Err(kind),
            Err(_) => Err(FailureKind::ConnectTimeout(destination.address.clone())),
        };
        drop(pending);
        connection
    }

    async fn connect_http1(
        &self,
        group: &Arc<Group>,
        destination: &Destination<'_>,
        counted: Counted,
    ) -> Result<Connection, FailureKind> {
        let place = Place::new(group);
        let (io, remote) = connect::open(&self.dns, destination, counted).await?;
        let (sender, task) = start(io).await.map_err(FailureKind::of)?;
        Ok(Connection { sender, remote, task: Some(task), place, opened: Instant::now(), served: 0 })
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

async fn start(io: Io) -> hyper::Result<(SendRequest<RequestBody>, AbortHandle)> {
    let mut builder = Builder::new();
    // A head may have 100 headers, as in Envoy: hyper's own bound, up to which it needs no memory to read one.
    builder.max_buf_size(READ_BUFFER);
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
    // Its error is told to the request under way; between requests nobody is concerned.
    let task = tokio::spawn(async move { drop(connection.with_upgrades().await) });
    Ok((sender, task.abort_handle()))
}
