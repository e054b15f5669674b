//! One address that is listened on.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use pailou_snapshot::{ClientPolicy, ListenerRef, Port, PortKey, PortService, ServerTls};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::watch;

use super::{
    Sockets,
    drain::{Counter, Drain, Mark, Phase},
};
use crate::tls::server_config;

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 4096;
/// Connections beyond the limit that stay open for a while; those beyond these are closed at once.
const MAX_REFUSED: usize = 1024;
/// Datagrams that the system holds until they are read, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {port}: {error}")]
pub struct BindError {
    /// The socket.
    pub port: PortKey,
    /// Why not.
    pub error: io::Error,
}

/// Settings of a port at this moment, by the last snapshot.
pub(super) struct Settings {
    pub(super) address: SocketAddr,
    pub(super) client: Arc<ClientPolicy>,
    pub(super) service: PortService,
    /// The library's configuration by the address of the settings it was made from, which `service` keeps where they are.
    tls: HashMap<usize, Arc<ServerConfig>>,
}

/// A bound port, as the server holds it. Dropped, it stops listening, and its connections drain.
pub(super) struct BoundPort {
    state: Arc<PortState>,
    phase: watch::Sender<Phase>,
    /// The socket once more, for a process that is to take it over.
    socket: OwnedFd,
}

/// A bound port, as its accepting task and its connections share it.
pub(super) struct PortState {
    settings: ArcSwap<Settings>,
    local: SocketAddr,
    open: AtomicUsize,
    /// Connections that were ever accepted.
    pub(super) accepted: AtomicU64,
    /// Connections beyond the limit that stay open for a while.
    refused: AtomicUsize,
    counter: Counter,
    /// Signals to every connection of the server.
    pub(super) server_phase: watch::Receiver<Phase>,
    /// Signals to the connections of this port.
    pub(super) port_phase: watch::Receiver<Phase>,
}

/// A connection's place at a port, given back when its socket closes.
pub(crate) struct ConnectionPermit {
    port: Arc<PortState>,
    _mark: Mark,
}

/// A place of a connection beyond a port's limit that stays open for a while.
pub(super) struct RefusedPlace(Arc<PortState>);

impl Settings {
    /// Settings of a snapshot's port. Configurations whose settings did not change carry over from `previous`.
    pub(super) fn new(port: &Port, previous: Option<&Self>) -> Self {
        let mut tls = HashMap::new();
        for settings in port.listeners().into_iter().filter_map(ListenerRef::tls) {
            let key = Arc::as_ptr(settings).addr();
            let kept = previous.and_then(|previous| previous.tls.get(&key).cloned());
            match kept.map_or_else(|| server_config(settings), Ok) {
                Ok(config) => drop(tls.insert(key, config)),
                Err(error) => tracing::error!(address = %port.address, %error, "a listener's TLS settings cannot be used"),
            }
        }
        Self { address: port.address, client: Arc::clone(&port.client), service: port.service.clone(), tls }
    }

    /// TLS as a listener has it; `None` where it has none, or one that cannot be used.
    pub(super) fn tls<'l>(&self, listener: ListenerRef<'l>) -> Option<(&'l Arc<ServerTls>, &Arc<ServerConfig>)> {
        let settings = listener.tls()?;
        Some((settings, self.tls.get(&Arc::as_ptr(settings).addr())?))
    }
}

impl BoundPort {
    /// Binds an address for connections.
    pub(super) fn bind(settings: Settings, adopted: &mut Sockets, drain: &Drain) -> Result<(Self, TcpListener), BindError> {
        let address = settings.address;
        let bound = adopted.take_tcp(address).map_or_else(|| listen(address), Ok).and_then(|listener| {
            let (local, socket) = (listener.local_addr()?, listener.as_fd().try_clone_to_owned()?);
            Ok((Self::new(settings, local, socket, drain), listener))
        });
        bound.map_err(|error| BindError { port: PortKey::tcp(address), error })
    }

    /// Binds an address for datagrams.
    pub(super) fn bind_udp(settings: Settings, adopted: &mut Sockets, drain: &Drain) -> Result<(Self, UdpSocket), BindError> {
        let address = settings.address;
        let bound = adopted.take_udp(address).map_or_else(|| receive(address), Ok).and_then(|receiver| {
            let (local, socket) = (receiver.local_addr()?, receiver.as_fd().try_clone_to_owned()?);
            Ok((Self::new(settings, local, socket, drain), receiver))
        });
        bound.map_err(|error| BindError { port: PortKey::udp(address), error })
    }

    fn new(settings: Settings, local: SocketAddr, socket: OwnedFd, drain: &Drain) -> Self {
        let (phase, port_phase) = watch::channel(Phase::Serving);
        let state = Arc::new(PortState {
            settings: ArcSwap::from_pointee(settings),
            local,
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicUsize::new(0),
            counter: drain.counter(),
            server_phase: drain.subscribe(),
            port_phase,
        });
        Self { state, phase, socket }
    }

    /// Takes the port's settings from a new snapshot, for connections to come.
    pub(super) fn update(&self, port: &Port) {
        let previous = self.state.settings.load();
        self.state.settings.store(Arc::new(Settings::new(port, Some(&previous))));
    }

    pub(super) fn state(&self) -> Arc<PortState> {
        Arc::clone(&self.state)
    }

    /// Stops listening at once, for other processes that have the socket too: whoever accepts from it has yet to hear of its end, and the
    /// address may be wanted again before.
    pub(super) fn close(self) {
        self.phase.send_replace(Phase::Draining);
        // Does nothing for a socket of datagrams.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }

    /// The socket, for another process.
    pub(super) fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// The address that the system gave.
    pub(super) fn local(&self) -> SocketAddr {
        self.state.local
    }
}

impl Drop for BoundPort {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Draining);
    }
}

impl PortState {
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Connections open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place for a connection.
    pub(super) fn permit(self: &Arc<Self>) -> ConnectionPermit {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        ConnectionPermit { port: Arc::clone(self), _mark: self.counter.mark() }
    }

    /// A place for a connection that is refused after a delay, if there is one.
    pub(super) fn refused_place(self: &Arc<Self>) -> Option<RefusedPlace> {
        // Given back when dropped, one too many as well.
        self.refused.fetch_add(1, Ordering::Relaxed);
        Some(RefusedPlace(Arc::clone(self))).filter(|_| self.refused.load(Ordering::Relaxed) <= MAX_REFUSED)
    }

    /// Whether the port's limit allows another connection.
    pub(super) fn has_room_now(&self) -> bool {
        let limit = self.settings.load().client.max_connections.map_or(usize::MAX, |limit| limit as usize);
        self.open.load(Ordering::Acquire) < limit
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.port.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for RefusedPlace {
    fn drop(&mut self) {
        self.0.refused.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A listening socket. `SO_REUSEADDR`, so that connections of a former process that linger do not stand in the way;
/// not `SO_REUSEPORT`, so that a port that another process listens on is an error.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` stands beside `0.0.0.0`, not for it.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket for datagrams. Not shared with anybody: who gets a datagram would be a matter of chance.
fn receive(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // The addresses of IPv4 are a socket of their own, as they are in a snapshot.
        socket.set_only_v6(true)?;
    }
    // As much as the system allows: a burst waits here while a worker is busy.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
