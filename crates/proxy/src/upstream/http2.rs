//! HTTP/2 towards backends: many requests on each connection.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Request;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::{
    Destination, Exchange, FailureKind, SendFailure, UpstreamBody, Upstreams, connect,
    io::{Counted, Io},
    pool::Group,
    preconnect::has_room,
};
use crate::{breaker::Overflow, request_body::RequestBody};

/// Bytes that a backend may send of one response ahead of its reader.
const STREAM_WINDOW: u32 = 256 << 10;
/// Bytes that it may send of all responses on a connection: wide, so that a few slow readers do not hold up the others.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Streams open at once until the backend says how many.
const INITIAL_MAX_STREAMS: usize = 100;
/// Bound on a response's headers.
const MAX_HEADER_LIST: u32 = 64 << 10;
/// Bytes held of a request's body that the backend does not take.
const SEND_BUFFER: usize = 64 << 10;
/// While requests are under way, a backend that is silent for this long is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long it has to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The same on a connection that is watched, which whoever sends a request waits for only briefly. Without requests nobody asks: some
/// servers take that for a flood.
const WATCHED_PINGS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// A connection that requests share.
pub(super) struct Shared {
    sender: SendRequest<RequestBody>,
    remote: Option<SocketAddr>,
    task: AbortHandle,
    retires: Option<Instant>,
    idle_timeout: Duration,
    max_requests: u32,
    served: AtomicU32,
    streams: AtomicU32,
    /// As the backend last said.
    max_streams: Arc<AtomicUsize>,
    /// As the policy says.
    own_max_streams: usize,
    idle_since: Mutex<Instant>,
}

impl Shared {
    /// Whether it can take no requests any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it takes one more request now.
    pub(super) fn has_room(&self) -> bool {
        self.takes_requests(Instant::now()) && self.streams() < self.most_streams()
    }

    /// Whether it has taken a request.
    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed) > 0
    }

    /// Requests on it.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed) as usize
    }

    /// Requests that it takes at once.
    pub(super) fn most_streams(&self) -> usize {
        self.max_streams.load(Ordering::Relaxed).min(self.own_max_streams)
    }

    /// Whether it may be let go: nothing will come of it any more, or it has waited too long.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let is_unused = self.streams.load(Ordering::Relaxed) == 0;
        self.is_closed()
            || !self.takes_requests(now)
            || (is_unused && now.saturating_duration_since(*self.idle_since.lock()) >= self.idle_timeout)
    }

    fn takes_requests(&self, now: Instant) -> bool {
        self.retires.is_none_or(|at| now < at) && self.served.load(Ordering::Relaxed) < self.max_requests
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The last stream holds it to its end.
        self.task.abort();
    }
}

/// A request's part in a connection.
pub(super) struct Stream(Arc<Shared>);

impl Stream {
    fn new(shared: Arc<Shared>) -> Self {
        shared.streams.fetch_add(1, Ordering::Relaxed);
        shared.served.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.0.idle_since.lock() = Instant::now();
        }
    }
}

/// The one attempt of a request to open a connection of a group. Others wait for its end, which comes however it ends.
struct Opening<'a>(&'a Group, Option<Arc<Shared>>);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opened_shared(self.1.take());
    }
}

impl Upstreams {
    pub(super) async fn send_http2(
        &self,
        group: &Arc<Group>,
        destination: &Destination<'_>,
        mut request: Request<RequestBody>,
    ) -> Result<Exchange, Box<SendFailure>> {
        let mut is_second = false;
        loop {
            let shared = match self.shared_http2(group, destination).await {
                Ok(shared) => shared,
                Err(kind) => return Err(SendFailure::before(kind, request.into_body())),
            };
            let stream = Stream::new(Arc::clone(&shared));
            if let Some(percent) = destination.preconnect {
                self.preconnect_http2(group, destination, percent);
            }
            let reused = shared.served.load(Ordering::Relaxed) > 1;
            let sent = shared.sender.clone().try_send_request(request).await;
            match sent {
                Ok(response) => {
                    let remote = shared.remote;
                    if destination.preconnect.is_some() && !reused {
                        group.preconnect_succeeded();
                    }
                    let response = response.map(|body| UpstreamBody::http2(body, stream));
                    return Ok(Exchange { response, remote, reused, switched: None });
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused && !is_second => {
                        request = unsent;
                        is_second = true;
                    }
                    unsent => {
                        return Err(SendFailure::of(
                            FailureKind::of_http2(error.into_error()),
                            reused,
                            unsent.map(Request::into_body),
                        ));
                    }
                },
            }
        }
    }

    /// A connection with room for one more request: one there is, or a new one, which one request opens for all who wait.
    async fn shared_http2(&self, group: &Arc<Group>, destination: &Destination<'_>) -> Result<Arc<Shared>, FailureKind> {
        let mut pending = None;
        loop {
            let changed = group.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no end of an attempt is missed.
            changed.as_mut().enable();
            let usable = |shared: &Shared| self.still_leads_there(group, shared.remote);
            match group.pick_shared(usable, || has_room(destination)) {
                Ok(shared) => return Ok(shared),
                Err(is_ours) => {
                    let mut opening = is_ours.then(|| Opening(group, None));
                    if let (None, Some(breaker)) = (&pending, destination.breaker) {
                        pending = Some(breaker.pending(destination.limits)?);
                    }
                    match &mut opening {
                        Some(opening) => {
                            let counted = counted(group, destination)?;
                            let shared = self.connect_http2(destination, counted).await?;
                            opening.1 = Some(Arc::clone(&shared));
                            return Ok(shared);
                        }
                        None => changed.await,
                    }
                }
            }
        }
    }

    /// Opens a connection that is counted already.
    pub(super) async fn connect_http2(&self, destination: &Destination<'_>, counted: Counted) -> Result<Arc<Shared>, FailureKind> {
        let (io, remote) = connect::open(&self.dns, destination, counted).await?;
        let max_streams = Arc::new(AtomicUsize::new(INITIAL_MAX_STREAMS));
        let (sender, task) = start(io, destination, Arc::clone(&max_streams)).await.map_err(FailureKind::of_http2)?;
        let now = Instant::now();
        Ok(Arc::new(Shared {
            sender,
            remote,
            task,
            retires: destination.max_age.and_then(|age| now.checked_add(age)),
            idle_timeout: destination.idle_timeout,
            max_requests: destination.limits.and_then(|limits| limits.max_requests_per_connection).unwrap_or(u32::MAX),
            served: AtomicU32::new(0),
            streams: AtomicU32::new(0),
            max_streams,
            own_max_streams: destination.http2.max_concurrent_streams.map_or(usize::MAX, |most| most as usize),
            idle_since: Mutex::new(now),
        }))
    }
}

/// Counts a request's connection.
fn counted(group: &Group, destination: &Destination<'_>) -> Result<Counted, Overflow> {
    let by_breaker = destination.breaker.map(|breaker| breaker.connection(destination.limits)).transpose()?;
    // A worker without any connection to the endpoint may have one.
    let limit = destination.limits.and_then(|limits| limits.max_endpoint_connections);
    let limit = limit.filter(|limit| *limit == 0 || group.has_shared());
    let by_endpoint = destination.endpoint.map(|endpoint| endpoint.connection(limit)).transpose()?;
    Ok(Counted { _by_breaker: by_breaker, _by_endpoint: by_endpoint })
}

async fn start(
    io: Io,
    destination: &Destination<'_>,
    max_streams: Arc<AtomicUsize>,
) -> hyper::Result<(SendRequest<RequestBody>, AbortHandle)> {
    let settings = destination.http2;
    let (interval, patience) = if destination.is_watched { WATCHED_PINGS } else { (PING_INTERVAL, PING_TIMEOUT) };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_max_send_streams(INITIAL_MAX_STREAMS)
        .initial_stream_window_size(settings.initial_stream_window.unwrap_or(STREAM_WINDOW))
        .initial_connection_window_size(settings.initial_connection_window.unwrap_or(CONNECTION_WINDOW))
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(settings.ping_interval.unwrap_or(interval))
        .keep_alive_while_idle(settings.ping_interval.is_some())
        .keep_alive_timeout(settings.ping_timeout.unwrap_or(patience));
    let (sender, mut connection) = builder.handshake(TokioIo::new(io)).await?;
    let task = tokio::spawn(poll_fn(move |context| {
        let end = Pin::new(&mut connection).poll(context);
        max_streams.store(connection.current_max_send_streams(), Ordering::Relaxed);
        // Its error is told to the requests under way.
        end.map(drop)
    }));
    Ok((sender, task.abort_handle()))
}
