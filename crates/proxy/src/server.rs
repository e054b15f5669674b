//! Sockets that clients connect to: bound, accepted from, spoken to in HTTP/1.1 and HTTP/2, drained.
//!
//! One task accepts at each address and hands every connection to the worker that has the fewest. There it stays for life.

mod accept;
mod body;
mod client;
mod clock;
mod connection;
mod datagrams;
mod drain;
mod handshake;
mod hello;
mod http1;
mod io;
mod opening;
mod port;
mod port_connections;
mod service;
mod sockets;
mod streams;
mod violation;

pub use body::{ClientBody, ClientBodyError};
pub use client::Client;
pub use datagrams::Datagrams;
pub use handshake::{HandshakeError, HandshakeFailure, HandshakeReason};
pub(crate) use http1::OnUpgrade;
pub use port::BindError;
pub(crate) use port::ConnectionPermit;
pub(crate) use port_connections::PortProtocol;
pub use port_connections::Ports;
pub use sockets::Sockets;
pub use violation::Violation;

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use pailou_snapshot::{ClientCertificates, Port, PortKey, PortService};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use self::{
    drain::{Drain, Phase},
    port::{BoundPort, Settings},
};
use crate::{idle::Pulse, proxy_protocol::Ends, timer::SpareTimer, tls::PresentedCertificate};

/// A response's body as a server sends it.
pub trait ResponseStream: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static {
    /// The upload that may still go on beside the response.
    fn upload(&self) -> Option<&Arc<Pulse>>;
}

/// Answers requests, on one worker.
pub trait Serve: Send + Sync + Sized + 'static {
    /// Bodies of its responses.
    type Body: ResponseStream;

    /// Answers a request of a connection. Dropped when the client goes away first.
    fn serve(connection: &Arc<Connection<Self>>, request: Request<ClientBody>)
    -> impl Future<Output = Response<Self::Body>> + Send;

    /// Hands a connection on as a whole, until its end or until `stop`.
    fn forward(
        connection: &Arc<Connection<Self>>,
        client: Client,
        stop: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = ()> + Send;

    /// Is told of a client that does not keep to the protocol, whom no request will come from.
    fn violated(_connection: &Connection<Self>, _violation: &Violation) {}

    /// Takes note of a connection beyond its port's limit, which is closed.
    fn connection_refused(_worker: &Arc<Self>) {}

    /// Takes note of a TLS handshake that failed, and after which the connection is closed.
    fn handshake_failed(_worker: &Arc<Self>, _failure: &HandshakeFailure) {}

    /// Takes note of the end of a connection that was opened.
    fn closed(_connection: &Connection<Self>, _opened: std::time::Instant) {}

    /// Hands a socket's datagrams on until its port drains.
    fn datagrams(worker: &Arc<Self>, socket: Arc<Datagrams>) -> impl Future<Output = ()> + Send;
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection<W> {
    /// The worker on which it lives.
    pub worker: Arc<W>,
    /// The client's address, or that of a proxy in front.
    pub peer: SocketAddr,
    /// Its IP address as text, for every request's `X-Forwarded-For`.
    pub peer_ip: HeaderValue,
    /// The address it came in at, as the snapshot has it.
    pub local: SocketAddr,
    /// The address that the client connected to, as the system or a load balancer has it.
    pub(crate) destination: SocketAddr,
    /// Facts of the client's TLS handshake; `None` in clear text.
    pub tls: Option<TlsInfo>,
    /// The timer of its requests' attempts, between two of them.
    pub(crate) timer: SpareTimer,
}

impl<W> Connection<W> {
    fn new(worker: Arc<W>, ends: Ends, local: SocketAddr, tls: Option<TlsInfo>) -> std::io::Result<Self> {
        let Ends { source: peer, destination } = ends;
        // Every address is a valid header.
        let peer_ip = HeaderValue::try_from(peer.ip().to_canonical().to_string()).map_err(std::io::Error::other)?;
        Ok(Self { worker, peer, peer_ip, local, destination, tls, timer: SpareTimer::default() })
    }

    /// The server name asked for in TLS.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.tls.as_ref()?.sni.as_deref()
    }

    /// Its ends.
    pub(crate) fn ends(&self) -> Ends {
        Ends { source: self.peer, destination: self.destination }
    }
}

/// Facts of a client's TLS handshake.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// The server name asked for, in lower case.
    pub sni: Option<Arc<str>>,
    /// Certificate that the listener asked for, and that the client presented.
    pub client_certificates: Option<ClientCertificates>,
    /// The client's certificate, if it was verified.
    pub(crate) presented: Option<Arc<PresentedCertificate>>,
}

/// A worker to hand connections to.
#[derive(Debug)]
pub struct WorkerHandle<W> {
    pub(crate) runtime: Handle,
    pub(crate) worker: Arc<W>,
    connections: Arc<AtomicUsize>,
}

impl<W> WorkerHandle<W> {
    /// A worker whose connections live on a runtime, which has to be of a single thread.
    pub fn new(runtime: Handle, worker: Arc<W>) -> Self {
        Self { runtime, worker, connections: Arc::default() }
    }
}

impl<W> Clone for WorkerHandle<W> {
    fn clone(&self) -> Self {
        Self { runtime: self.runtime.clone(), worker: Arc::clone(&self.worker), connections: Arc::clone(&self.connections) }
    }
}

/// All sockets that are listened on.
pub struct Server<W> {
    workers: Arc<[WorkerHandle<W>]>,
    tasks: Handle,
    ports: Arc<Mutex<HashMap<PortKey, BoundPort>>>,
    /// Bound by another process, and not wanted yet.
    adopted: Mutex<Sockets>,
    drain: Drain,
}

impl<W: Serve> Server<W> {
    /// Listens nowhere yet. Accepts on `tasks`; `workers` must not be empty.
    pub fn new(workers: Vec<WorkerHandle<W>>, tasks: Handle) -> Self {
        Self { workers: workers.into(), tasks, ports: Arc::default(), adopted: Mutex::default(), drain: Drain::default() }
    }

    /// Takes sockets that another process listens on too. The next [`Self::reconcile`] uses those it wants, and closes the others.
    pub fn adopt(&self, sockets: Sockets) {
        *self.adopted.lock() = sockets;
    }

    /// All sockets listened on, for another process. They listen for as long as either has them.
    ///
    /// # Errors
    /// The system gives no more file descriptors.
    pub fn sockets(&self) -> std::io::Result<Sockets> {
        let mut sockets = Sockets::default();
        for bound in self.ports.lock().values() {
            sockets.insert(bound.socket()?)?;
        }
        Ok(sockets)
    }

    /// Listens at just these addresses. What is there already goes on undisturbed, under its new settings; connections of
    /// an address that is gone finish what they are at and close.
    ///
    /// # Errors
    /// Each address that cannot be listened on. The others are served; the next call tries again.
    pub fn reconcile(&self, wanted: &[Port]) -> Vec<BindError> {
        let mut ports = self.ports.lock();
        for (_, gone) in ports.extract_if(|key, _| !wanted.iter().any(|port| port.key() == *key)) {
            gone.close();
        }
        let mut adopted = std::mem::take(&mut *self.adopted.lock());
        let mut errors = Vec::new();
        for port in wanted {
            if let Some(bound) = ports.get(&port.key()) {
                bound.update(port);
                continue;
            }
            match self.listen(port, &mut adopted) {
                Ok(bound) => drop(ports.insert(port.key(), bound)),
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    /// The sockets listened on: as wanted, and the address that the system gave, which differs where port 0 was wanted.
    pub fn addresses(&self) -> Vec<(PortKey, SocketAddr)> {
        self.ports.lock().iter().map(|(wanted, bound)| (*wanted, bound.local())).collect()
    }

    /// Connections at all sockets listened on, for metrics.
    pub fn ports(&self) -> Ports {
        Ports(Arc::clone(&self.ports))
    }

    /// Connections open now, upgraded ones included.
    pub fn connections(&self) -> usize {
        self.drain.open()
    }

    /// Stops accepting, lets every connection finish what it is at, and cuts those that are still open after `grace`. Returns how
    /// many were cut. Calls `cut_off` before, by which requests know that they are to give up: they have a moment to say so.
    pub async fn drain(&self, grace: Duration, cut_off: impl FnOnce()) -> usize {
        self.drain.set(Phase::Draining);
        self.ports.lock().clear();
        if tokio::time::timeout(grace, self.drain.wait()).await.is_ok() {
            return 0;
        }
        let cut = self.drain.open();
        cut_off();
        self.drain.set(Phase::Cut);
        let _ = tokio::time::timeout(connection::LAST_WORD_TIMEOUT * 2, self.drain.wait()).await;
        cut
    }

    fn listen(&self, port: &Port, adopted: &mut Sockets) -> Result<BoundPort, BindError> {
        let settings = Settings::new(port, None);
        let failed = |error| BindError { port: port.key(), error };
        if let PortService::Udp(_) = port.service {
            let (bound, socket) = BoundPort::bind_udp(settings, adopted, &self.drain)?;
            datagrams::spawn(socket, bound.state(), &self.workers).map_err(failed)?;
            return Ok(bound);
        }
        let (bound, listener) = BoundPort::bind(settings, adopted, &self.drain)?;
        accept::spawn(&self.tasks, listener, bound.state(), Arc::clone(&self.workers)).map_err(failed)?;
        Ok(bound)
    }
}

/// The worker with the fewest connections.
fn least_busy<W>(workers: &[WorkerHandle<W>]) -> Option<&WorkerHandle<W>> {
    workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests;
