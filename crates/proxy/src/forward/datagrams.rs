//! Datagrams: those of one client go to one endpoint, and what comes back goes to the client, until they cease.
//!
//! Everything of a socket lives on one worker. A client is an address; its session has a socket of its own towards the endpoint,
//! by which answers are told apart.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use pailou_snapshot::{Address, DnsSettings, Forward, PortKey, PortService};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{Session, target::source_hash};
use crate::{
    cluster::{Attempt, AttemptOutcome, ClusterState},
    error::{Error, Flag},
    metrics::sessions::Dropped,
    runtime::Runtime,
    server::{ConnectionPermit, Datagrams},
    session_record::Protocol,
    upstream::FailureKind,
    weighted,
    worker::Worker,
};

/// A session ends when no datagram went either way for this long. Envoy's default for UDP.
const IDLE: Duration = Duration::from_secs(60);
/// Most clients of one socket at once. Each has a file descriptor.
const MAX_SESSIONS: usize = 8192;
/// The longest datagram there is.
const MAX_DATAGRAM: usize = 64 << 10;
/// Datagrams read before others get to run.
const BURST: usize = 64;
/// Datagrams of one client that wait while the endpoint's name is looked up.
const MAX_WAITING: usize = 16;

/// The clients of one socket.
struct Table {
    worker: Arc<Worker>,
    key: PortKey,
    socket: Arc<Datagrams>,
    sessions: Mutex<HashMap<SocketAddr, Arc<Flow>>>,
}

/// One client's datagrams.
struct Flow {
    client: SocketAddr,
    /// Towards the endpoint, to which it is connected; made when its address is known.
    socket: OnceLock<UdpSocket>,
    cluster: Arc<ClusterState>,
    attempt: Attempt,
    state: Mutex<State>,
    table: Weak<Table>,
    /// Told when the session is no longer the client's.
    left: Notify,
    _permit: ConnectionPermit,
}

struct State {
    session: Session,
    last: Instant,
    /// For the endpoint, whose address is not known yet.
    waiting: Vec<Box<[u8]>>,
}

/// Serves a socket's clients until its port drains.
pub(crate) async fn serve(worker: &Arc<Worker>, socket: Arc<Datagrams>) {
    let key = PortKey::udp(socket.address());
    let table = Arc::new(Table { worker: Arc::clone(worker), key, socket, sessions: Mutex::default() });
    tokio::select! {
        biased;
        () = table.socket.draining() => {}
        () = table.receive() => {}
    }
    // Answers still come to what was asked before.
    table.socket.ended().await;
    let sessions = std::mem::take(&mut *table.sessions.lock());
    drop(sessions);
}

impl Table {
    async fn receive(self: &Arc<Self>) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            for _ in 0..BURST {
                match self.socket.try_receive(&mut buffer) {
                    Ok((length, client)) => self.take(client, &buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Word of a client that is gone, on some systems.
                    Err(error) => {
                        tracing::debug!(port = %self.key, %error, "a datagram could not be received");
                        break;
                    }
                }
            }
            tokio::task::yield_now().await;
            if self.socket.readable().await.is_err() {
                return;
            }
        }
    }

    /// Hands a client's datagram on, in the session there is, or in a new one.
    fn take(self: &Arc<Self>, client: SocketAddr, datagram: &[u8]) {
        let known = self.sessions.lock().get(&client).cloned();
        let flow = match known {
            Some(flow) if flow.still_leads_there() => Ok(flow),
            known => {
                if let Some(gone) = known {
                    gone.end();
                }
                self.open(client)
            }
        };
        let metrics = &self.worker.context.metrics.sessions;
        match flow {
            Ok(flow) => flow.send(datagram),
            Err(why) => metrics.dropped(why),
        }
    }

    /// Begins a session.
    fn open(self: &Arc<Self>, client: SocketAddr) -> Result<Arc<Flow>, Dropped> {
        if self.sessions.lock().len() >= MAX_SESSIONS {
            return Err(Dropped::Full);
        }
        let runtime = self.worker.context.runtime.load_full().ok_or(Dropped::NoEndpoint)?;
        let port = runtime.port(self.key).ok_or(Dropped::NoEndpoint)?;
        let PortService::Udp(listener) = &port.service else { return Err(Dropped::NoEndpoint) };
        let forward = listener.routes.get("").next().ok_or(Dropped::NoEndpoint)?;
        let (cluster, attempt) = choose(&runtime, forward, client).ok_or(Dropped::NoEndpoint)?;
        let permit = self.socket.permit().ok_or(Dropped::Full)?;
        let mut session = Session::new(Arc::clone(&self.worker.context), Protocol::Udp, client, None);
        session.listener = Some(listener.name.clone());
        session.log = self.worker.context.gateway_logs.target(&listener.access_log);
        session.route = Some(forward.route.clone());
        session.cluster = Some(Arc::clone(&cluster));
        session.tried(attempt.endpoint().endpoint());
        let state = Mutex::new(State { session, last: Instant::now(), waiting: Vec::new() });
        let table = Arc::downgrade(self);
        let flow = Arc::new(Flow {
            client,
            socket: OnceLock::new(),
            cluster,
            attempt,
            state,
            table,
            left: Notify::new(),
            _permit: permit,
        });
        if let Address::Socket(endpoint) = flow.address()
            && let Err(error) = flow.connect(*endpoint)
        {
            flow.fail(&error);
            return Err(Dropped::Send);
        }
        self.sessions.lock().insert(client, Arc::clone(&flow));
        tokio::spawn(Arc::clone(&flow).run(Arc::clone(self)));
        Ok(flow)
    }
}

impl Flow {
    /// Whether its endpoint is still one, and the client's.
    fn still_leads_there(&self) -> bool {
        self.cluster.has_endpoint(self.address()) && self.is_routed()
    }

    /// Whether the rule that it began with is still the listener's, and leads to its cluster.
    fn is_routed(&self) -> bool {
        let Some(table) = self.table.upgrade() else { return false };
        let runtime = table.worker.context.runtime.load();
        let Some(runtime) = &*runtime else { return false };
        let Some(PortService::Udp(listener)) = runtime.port(table.key).map(|port| &port.service) else { return false };
        let Some(backends) = listener.routes.get("").next().and_then(|forward| forward.backends.as_ref().ok()) else {
            return false;
        };
        let leads_there = |id| Arc::ptr_eq(runtime.cluster(id), &self.cluster);
        backends.iter().any(|backend| backend.weight > 0 && backend.cluster.as_ref().is_ok_and(|id| leads_there(*id)))
    }

    fn address(&self) -> &Address {
        &self.attempt.endpoint().endpoint().address
    }

    /// Makes the socket, by which only the endpoint is spoken with.
    fn connect(&self, endpoint: SocketAddr) -> io::Result<()> {
        if !self.cluster.current_settings().local_addresses.permits(endpoint.ip()) {
            return Err(io::Error::other(FailureKind::LocalAddress(self.address().clone())));
        }
        let any: SocketAddr = match endpoint {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(endpoint)?;
        socket.set_nonblocking(true)?;
        // Nobody else makes one.
        let _ = self.socket.set(UdpSocket::from_std(socket)?);
        Ok(())
    }

    fn send(&self, datagram: &[u8]) {
        let mut state = self.state.lock();
        let sent = match self.socket.get() {
            // By the system's word, not by the runtime's, which has not heard of a new socket yet.
            Some(socket) => SockRef::from(socket).send(datagram),
            None if state.waiting.len() < MAX_WAITING => {
                state.waiting.push(datagram.into());
                return;
            }
            None => Err(io::ErrorKind::WouldBlock.into()),
        };
        match sent {
            Ok(length) => {
                state.session.moved.sent += length as u64;
                state.last = Instant::now();
            }
            Err(error) => {
                drop(state);
                self.count_dropped();
                // A datagram that is too long is its own affair.
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    self.fail(&error);
                }
            }
        }
    }

    /// Lives as long as the session.
    async fn run(self: Arc<Self>, table: Arc<Table>) {
        let socket = Arc::clone(&table.socket);
        let upstreams = Arc::clone(&table.worker);
        drop(table);
        let ended = tokio::select! {
            biased;
            () = socket.ended() => Ok(()),
            () = self.left.notified() => return,
            ended = self.answer(&upstreams, &socket) => ended,
        };
        match ended {
            Ok(()) => self.end(),
            Err(error) => self.fail(&error),
        }
    }

    /// Hands answers to the client until there have been none, nor questions, for long enough.
    async fn answer(&self, worker: &Worker, listener: &Datagrams) -> io::Result<()> {
        let socket = self.opened(worker).await?;
        loop {
            let silence_ends = self.state.lock().last + IDLE;
            tokio::select! {
                biased;
                ready = socket.ready(Interest::READABLE | Interest::ERROR) => if ready?.is_error() {
                    refused(socket)?;
                },
                () = sleep_until(silence_ends) => {
                    if self.state.lock().last + IDLE <= Instant::now() {
                        return Ok(());
                    }
                    continue;
                }
            }
            // A session that waits holds no buffer.
            let mut buffer = vec![0; MAX_DATAGRAM];
            for _ in 0..BURST {
                match socket.try_recv(&mut buffer) {
                    Ok(length) => self.give(listener, &buffer[..length]).await,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// The socket towards the endpoint, once its name is looked up.
    async fn opened(&self, worker: &Worker) -> io::Result<&UdpSocket> {
        if let Address::Dns { host, port } = self.address() {
            let addresses = worker.upstreams.dns().resolve(host, *port, DnsSettings::default()).await.map_err(io::Error::other)?;
            let permits = |address: &&SocketAddr| self.cluster.current_settings().local_addresses.permits(address.ip());
            let address = addresses.iter().find(permits).or(addresses.first()).ok_or(io::ErrorKind::AddrNotAvailable)?;
            self.connect(*address)?;
            let waiting = std::mem::take(&mut self.state.lock().waiting);
            waiting.iter().for_each(|datagram| self.send(datagram));
        }
        self.socket.get().ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "the backend has no address for datagrams"))
    }

    async fn give(&self, listener: &Datagrams, answer: &[u8]) {
        let sent = listener.send(answer, self.client).await;
        let mut state = self.state.lock();
        match sent {
            Ok(()) => {
                state.session.moved.received += answer.len() as u64;
                state.last = Instant::now();
            }
            Err(_) => {
                drop(state);
                self.count_dropped();
            }
        }
    }

    fn count_dropped(&self) {
        if let Some(table) = self.table.upgrade() {
            table.worker.context.metrics.sessions.dropped(Dropped::Send);
        }
    }

    /// The endpoint is not there, so far as the system knows: the client's next datagram goes to another.
    fn fail(&self, error: &io::Error) {
        self.attempt.report(AttemptOutcome::ConnectFailure);
        let error = Error::new(Flag::ConnectFailure, "the backend takes no datagrams").with_detail(error.to_string());
        self.state.lock().session.failed(error);
        self.end();
    }

    /// Takes it out of the table, if it is still in it.
    fn end(&self) {
        let Some(table) = self.table.upgrade() else { return };
        let mut sessions = table.sessions.lock();
        if let Entry::Occupied(entry) = sessions.entry(self.client)
            && std::ptr::eq(Arc::as_ptr(entry.get()), self)
        {
            let flow = entry.remove();
            drop(sessions);
            flow.left.notify_one();
        }
    }
}

/// Word from the endpoint's system that nobody takes datagrams there; no read is woken by it.
fn refused(socket: &UdpSocket) -> io::Result<()> {
    // Forgets what the runtime has been told, so that it is not told again and again.
    let _ = socket.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    socket.take_error()?.map_or(Ok(()), Err)
}

fn choose(runtime: &Runtime, forward: &Forward, client: SocketAddr) -> Option<(Arc<ClusterState>, Attempt)> {
    let backend = weighted::choose(forward.backends.as_ref().ok()?, runtime)?;
    let cluster = Arc::clone(runtime.cluster(*backend.cluster.as_ref().ok()?));
    let attempt = cluster.choose(source_hash(&cluster, client.ip()))?;
    Some((cluster, attempt))
}
