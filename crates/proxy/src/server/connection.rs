//! One client's connection, from TLS to its end.

use std::{
    error::Error,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use pailou_http1::MAX_HEAD;
use pailou_snapshot::{ClientKeepalive, ClientTimeouts};
use socket2::TcpKeepalive;
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, sleep},
};

use super::{
    Client, Connection, Serve, Violation,
    clock::{Clock, Verdict},
    drain::Phase,
    handshake::HandshakeFailure,
    http1,
    io::ClientIo,
    opening::{OpenError, Opened, Spoken, open},
    port::{ConnectionPermit, PortState, Settings},
    service::service,
    streams::Streams,
};
use crate::{proxy_protocol::Ends, tcp_keepalive, timer::Timer};

/// Bytes held of a response's body that an HTTP/2 client does not take, per stream.
const SEND_BUFFER: usize = 64 << 10;
/// A silent HTTP/2 client is asked whether it is there, so that streams to those that vanished end.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How long it has to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// As the drain begins, a connection may have a request on its way. Closed at once, it would take that along.
const LAST_CALL: Duration = Duration::from_millis(500);

/// How long an HTTP/2 client may open streams after it was asked to open none. Envoy's `drain_timeout` has the same default.
const STREAM_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client then may take nothing of what is left of the last response.
const LAST_STREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection that takes no more streams is looked at.
const DRAINED_INTERVAL: Duration = Duration::from_secs(1);

/// As the drain is over, how long a client has to take the error that says so.
pub(super) const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub(super) async fn run<W: Serve>(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    permit: ConnectionPermit,
    port: &Arc<PortState>,
    worker: Arc<W>,
) -> io::Result<()> {
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let settings = port.settings();
    if let Some(keepalive) = settings.client.tcp_keepalive {
        keep_alive(&stream, keepalive);
    }
    let mut ends = Ends { source: peer, destination: stream.local_addr()? };
    let mut phases = Phases { server: port.server_phase.clone(), port: port.port_phase.clone() };
    let opened = tokio::select! {
        biased;
        opened = open(stream, &settings, &mut ends) => opened,
        () = phases.last_call() => Ok(None),
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(OpenError::Io(error)) => return Err(error),
        Err(OpenError::Handshake { sni, cause }) => {
            W::handshake_failed(
                &worker,
                &HandshakeFailure { peer: ends.source, local: settings.address, sni, cause: cause.clone() },
            );
            return Err(io::Error::other(cause));
        }
        Err(OpenError::ProxyProtocol(error)) => {
            let connection = Connection::new(worker, ends, settings.address, None)?;
            W::violated(&connection, &Violation::of_proxy_protocol(error));
            return Err(io::Error::other(error));
        }
    };
    let Some(Opened { spoken, tls }) = opened else { return Ok(()) };
    let connection = Arc::new(Connection::new(worker, ends, settings.address, tls)?);
    let begun = std::time::Instant::now();
    let ended = speak(&connection, spoken, &settings, phases, permit).await;
    W::closed(&connection, begun);
    ended
}

/// Serves a connection whose protocol is known to its end.
async fn speak<W: Serve>(
    connection: &Arc<Connection<W>>,
    spoken: Spoken,
    settings: &Settings,
    mut phases: Phases,
    permit: ConnectionPermit,
) -> io::Result<()> {
    let opened = match spoken {
        Spoken::Http(opened) => opened,
        Spoken::Unknown(opening) => {
            let stop = phases.reach(Phase::Cut);
            // Boxed, as HTTP/2 below.
            Box::pin(W::forward(connection, Client { opening, permit }, stop)).await;
            return Ok(());
        }
    };
    let clock = if opened.is_http2 { Clock::http2() } else { Clock::http1() };
    let clock = Arc::new(clock.with_limits(settings.client.max_requests, settings.client.max_connection_age));
    let timeouts = &settings.client.timeouts;
    if opened.is_http2 {
        let io = ClientIo::new(opened.stream, opened.ahead.freeze(), Arc::clone(&clock), permit);
        let service = service(Arc::clone(connection), Arc::clone(&clock));
        let cut_off = Arc::<Notify>::default();
        // Boxed: HTTP/1.1 would otherwise carry the room it needs.
        let mut http = Box::pin(http2(settings, &cut_off).serve_connection(TokioIo::new(io), service));
        let shut_down = |http: Pin<&mut _>, word| {
            http2::Connection::graceful_shutdown(http);
            if word == Word::Cut {
                // Each stream is a task of its own.
                cut_off.notify_waiters();
            }
        };
        let ended = drive(http.as_mut(), shut_down, &clock, timeouts, phases).await;
        if let Some(violation) = ended.as_ref().err().and_then(Violation::in_http2) {
            W::violated(connection, &violation);
        }
        ended
    } else {
        let io = ClientIo::new(opened.stream, Bytes::new(), Arc::clone(&clock), permit);
        let closing = Closing::default();
        let http = pin!(http1::serve(io, opened.ahead, connection, &clock, &closing));
        drive(http, |_, word| closing.say(word), &clock, timeouts, phases).await
    }
}

/// Has the system probe a connection without traffic.
fn keep_alive(stream: &TcpStream, settings: ClientKeepalive) {
    let mut keepalive = TcpKeepalive::new();
    if let Some(idle) = settings.idle {
        keepalive = keepalive.with_time(idle);
    }
    if let Some(interval) = settings.interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(probes) = settings.probes {
        keepalive = keepalive.with_retries(probes);
    }
    tcp_keepalive::set(stream, &keepalive);
}

/// Signal of the end to a connection over HTTP/1.1. Over HTTP/2 the client gets GOAWAY.
#[derive(Default)]
pub(super) struct Closing {
    soon: AtomicBool,
    now: AtomicBool,
}

/// How near a connection's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    /// The next request is the last.
    Soon,
    /// The one under way is, if there is one.
    Now,
    /// It gives up.
    Cut,
}

impl Closing {
    fn say(&self, word: Word) {
        self.soon.store(true, Ordering::Relaxed);
        self.now.fetch_or(word >= Word::Now, Ordering::Relaxed);
    }

    /// The request under way is the last.
    pub(super) fn after_this(&self) {
        self.say(Word::Soon);
    }

    /// Whether the response that begins now is the last.
    pub(super) fn is_soon(&self) -> bool {
        self.soon.load(Ordering::Relaxed)
    }

    /// Whether no further request is waited for.
    pub(super) fn is_now(&self) -> bool {
        self.now.load(Ordering::Relaxed)
    }
}

fn http2(settings: &Settings, cut_off: &Arc<Notify>) -> http2::Builder<Streams> {
    let http2 = &settings.client.http2;
    let mut builder = http2::Builder::new(Streams::new(settings.client.timeouts.stream_idle, Arc::clone(cut_off)));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(http2.initial_stream_window)
        .initial_connection_window_size(http2.initial_connection_window)
        .max_concurrent_streams(http2.max_concurrent_streams)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(http2.ping_interval.unwrap_or(PING_INTERVAL))
        .keep_alive_timeout(http2.ping_timeout.unwrap_or(PING_TIMEOUT));
    builder
}

/// Signals to a connection.
struct Phases {
    server: watch::Receiver<Phase>,
    port: watch::Receiver<Phase>,
}

impl Phases {
    /// Waits for the drain, or for the cut.
    async fn reach(&mut self, phase: Phase) {
        let told = [self.server.clone(), self.port.clone()];
        let mut reached = pin!(self.wait_for(phase));
        let mut waiting: Option<Waker> = None;
        poll_fn(|context| {
            // A connection is woken for other reasons many times a request. Where this waits already and nothing was said, one look does.
            let is_waiting = waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
            if is_waiting && told.iter().all(|phase| phase.has_changed().is_ok_and(|changed| !changed)) {
                return Poll::Pending;
            }
            let ended = reached.as_mut().poll(context);
            waiting = Some(context.waker().clone());
            ended
        })
        .await;
    }

    async fn wait_for(&mut self, phase: Phase) {
        tokio::select! {
            Ok(_) = self.server.wait_for(|now| *now >= phase) => {}
            Ok(_) = self.port.wait_for(|now| *now >= phase) => {}
            // The server is gone, and with it any reason to go on.
            else => {}
        }
    }

    /// Waits until a connection on which nothing was said yet has to go.
    async fn last_call(&mut self) {
        self.reach(Phase::Draining).await;
        sleep(LAST_CALL).await;
    }
}

/// Drives a connection, and ends it when it is told to or has been of no use for too long. The caller pins it: what is moved in here takes
/// its room twice.
async fn drive<E: Into<Box<dyn Error + Send + Sync>>, C: Future<Output = Result<(), E>>>(
    mut http: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>, Word),
    clock: &Clock,
    timeouts: &ClientTimeouts,
    mut phases: Phases,
) -> io::Result<()> {
    let mut next_phase = Phase::Draining;
    let (mut last_call, mut timer) = (None, None::<Timer>);
    let mut cut_at = None;
    let (mut retires, mut counts) = (clock.retires(), clock.counts_requests());
    // The codec ends the connection only if the client answers its ping.
    let mut drain_ends = None;
    let drain_end = || clock.has_streams().then(|| Instant::now() + STREAM_DRAIN_TIMEOUT);
    loop {
        if drain_ends.is_some_and(|at| at <= Instant::now()) {
            clock.end_drain();
            drain_ends = Some(Instant::now() + DRAINED_INTERVAL);
            if clock.is_quiet(LAST_STREAM_TIMEOUT) {
                return Ok(());
            }
        }
        if retires.is_some_and(|at| at <= Instant::now()) {
            shut_down(http.as_mut(), Word::Soon);
            last_call = Some(Instant::now() + LAST_CALL);
            (retires, drain_ends) = (None, drain_ends.or_else(drain_end));
        }
        if cut_at.is_some_and(|until| until <= Instant::now()) {
            return Ok(());
        }
        if last_call.is_some_and(|until| until <= Instant::now()) {
            shut_down(http.as_mut(), Word::Now);
            last_call = None;
        }
        let wake = match clock.check(timeouts) {
            Some(Verdict::HeadLate | Verdict::Stalled) => return Ok(()),
            Some(Verdict::Idle) if next_phase == Phase::Draining => {
                shut_down(http.as_mut(), Word::Now);
                drain_ends = drain_ends.or_else(drain_end);
                None
            }
            Some(Verdict::WaitUntil(at)) => Some(at),
            Some(Verdict::Idle) | None => None,
        };
        match wake.into_iter().chain(last_call).chain(cut_at).chain(retires).chain(drain_ends).min() {
            Some(at) => timer.get_or_insert_with(|| Timer::new(at)).reset(at),
            None => timer = None,
        }
        tokio::select! {
            biased;
            ended = poll_fn(|context| http.as_mut().poll(context)) => return ended.map_err(io::Error::other),
            () = phases.reach(next_phase), if cut_at.is_none() => match next_phase {
                Phase::Cut => {
                    shut_down(http.as_mut(), Word::Cut);
                    cut_at = Some(Instant::now() + LAST_WORD_TIMEOUT);
                }
                Phase::Serving | Phase::Draining => {
                    shut_down(http.as_mut(), Word::Soon);
                    last_call = Some(Instant::now() + LAST_CALL);
                    next_phase = Phase::Cut;
                }
            },
            () = clock.spent(), if counts => {
                shut_down(http.as_mut(), Word::Soon);
                (counts, drain_ends) = (false, drain_ends.or_else(drain_end));
            }
            () = poll_fn(|context| timer.as_mut().map_or(Poll::Pending, |timer| timer.poll(context))) => {}
        }
    }
}
