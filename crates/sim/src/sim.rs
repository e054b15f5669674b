//! A running server: starting, looking at and stopping it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pailou_kv_events::ZmtpSocket;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::app::{App, LastRequest};
use crate::config::{Config, ConfigError, Tls};
use crate::connection;
use crate::faults::Faults;
use crate::kv_events::{self, EventLog};

/// How long [`Sim::stop`] waits for requests to end.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after a failed accept: what fails it (no descriptors left) does not pass at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// A simulated model server, listening. Dropping it kills it.
#[must_use = "dropping the handle kills the server"]
pub struct Sim {
    app: Arc<App>,
    addr: SocketAddr,
    draining: watch::Sender<bool>,
    acceptor: JoinHandle<()>,
    engine: JoinHandle<()>,
    publisher: Publisher,
    bootstrap: Option<(SocketAddr, JoinHandle<()>)>,
}

/// Sockets of KV events.
#[derive(Default)]
struct Publisher {
    addr: Option<SocketAddr>,
    replay_addr: Option<SocketAddr>,
    tasks: JoinSet<()>,
}

impl Publisher {
    /// Binds the sockets and serves from then on.
    async fn start(app: &App) -> Result<Self, StartError> {
        let mut publisher = Self::default();
        if let (Some(settings), Some(log)) = (&app.config.kv_events, &app.events) {
            publisher.addr = Some(publisher.bind(log, settings.listen, ZmtpSocket::Publisher).await?);
            if let Some(listen) = settings.replay_listen {
                publisher.replay_addr = Some(publisher.bind(log, listen, ZmtpSocket::Router).await?);
            }
        }
        Ok(publisher)
    }

    async fn bind(&mut self, log: &Arc<EventLog>, listen: SocketAddr, socket: ZmtpSocket) -> Result<SocketAddr, StartError> {
        let failed = |source| StartError::Bind { addr: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        self.tasks.spawn(kv_events::serve(log.clone(), listener, socket));
        Ok(addr)
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is impossible.
    #[error("invalid configuration: {0}")]
    Config(#[from] ConfigError),
    /// The address cannot be bound.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The certificate or key is not PEM.
    #[error("the TLS certificate or key is not valid PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    /// Certificate and key do not make a TLS server.
    #[error("the TLS certificate and key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// A server's figures at one moment.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Requests received, without those to `/sim`, `/health` and `/metrics`.
    pub requests: u64,
    /// Requests that clients gave up and the engine therefore dropped.
    pub aborts: u64,
    /// Sequences running in the engine.
    pub running: usize,
    /// Requests waiting in the engine.
    pub waiting: usize,
    /// Share of KV blocks held, 0 to 1.
    pub kv_usage: f64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Prompt tokens found in the prefix cache.
    pub prefix_hits: u64,
    /// Prompts whose KV cache came from another engine.
    pub kv_received: u64,
    /// Prompts whose KV cache went to another engine.
    pub kv_sent: u64,
    /// Prompts whose KV cache waits for another engine.
    pub kv_held: usize,
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open_connections: u64,
    /// The latest of `requests`.
    pub last_request: Option<LastRequest>,
}

impl Sim {
    /// Binds `config.listen` and serves from then on, on the current Tokio runtime.
    pub async fn start(config: Config) -> Result<Sim, StartError> {
        let tls = config.tls.as_ref().map(tls_acceptor).transpose()?;
        let listen = config.listen;
        let app = Arc::new(App::new(config)?);
        let failed = |source| StartError::Bind { addr: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let publisher = Publisher::start(&app).await?;
        app.transfers.listens_on(addr);
        let draining = watch::Sender::new(false);
        let bootstrap = match app.config.kv_transfer.as_ref().and_then(|settings| settings.bootstrap_listen) {
            Some(listen) => {
                let failed = |source| StartError::Bind { addr: listen, source };
                let listener = TcpListener::bind(listen).await.map_err(failed)?;
                let addr = listener.local_addr().map_err(failed)?;
                Some((addr, tokio::spawn(accept(app.clone(), listener, addr, None, draining.subscribe()))))
            }
            None => None,
        };
        let engine = tokio::spawn(app.driver.clone().run());
        let acceptor = tokio::spawn(accept(app.clone(), listener, addr, tls, draining.subscribe()));
        tracing::debug!(name = app.config.name, %addr, "simulated server listens");
        Ok(Sim { app, addr, draining, acceptor, engine, publisher, bootstrap })
    }

    /// The address of the PUB socket of its KV events, if it publishes some.
    pub fn kv_events_addr(&self) -> Option<SocketAddr> {
        self.publisher.addr
    }

    /// The address of the ROUTER socket that replays them, if there is one.
    pub fn kv_events_replay_addr(&self) -> Option<SocketAddr> {
        self.publisher.replay_addr
    }

    /// The address of its bootstrap server, if it has one.
    pub fn bootstrap_addr(&self) -> Option<SocketAddr> {
        self.bootstrap.as_ref().map(|(addr, _)| *addr)
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` or `https://` and the address, with the path prefix; no slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.app.config.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.addr, self.app.config.path_prefix)
    }

    /// The faults it injects.
    pub fn faults(&self) -> &Faults {
        &self.app.faults
    }

    /// Its figures now.
    pub fn stats(&self) -> Stats {
        let counters = &self.app.counters;
        self.app.driver.observe(|state| Stats {
            requests: counters.requests.load(Ordering::Relaxed),
            aborts: state.recorder.aborts,
            running: state.engine.running(),
            waiting: state.engine.waiting(),
            kv_usage: state.engine.kv_usage(),
            generation_tokens: state.engine.totals().generation_tokens,
            prefix_hits: state.engine.totals().prefix_hits,
            kv_received: self.app.transfers.received(),
            kv_sent: self.app.transfers.sent(),
            kv_held: self.app.transfers.held(),
            connections: counters.connections.load(Ordering::Relaxed),
            open_connections: counters.open_connections.load(Ordering::Relaxed),
            last_request: self.app.last_request(),
        })
    }

    /// Stops accepting, lets requests end (10 s at most), then stops.
    pub async fn stop(mut self) {
        self.draining.send_replace(true);
        if tokio::time::timeout(DRAIN, &mut self.acceptor).await.is_err() {
            tracing::debug!(name = self.app.config.name, "requests were still open at the end of the drain");
        }
    }

    /// Ends at once: listener and connections are closed, whatever they were doing. When this returns, new
    /// connections are refused.
    pub async fn kill(mut self) {
        self.acceptor.abort();
        // The task's end drops the listener and all connections; its result is that it was aborted.
        let _ = (&mut self.acceptor).await;
        if let Some((_, mut bootstrap)) = self.bootstrap.take() {
            bootstrap.abort();
            let _ = (&mut bootstrap).await;
        }
        self.publisher.tasks.shutdown().await;
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.acceptor.abort();
        if let Some((_, bootstrap)) = &self.bootstrap {
            bootstrap.abort();
        }
        self.engine.abort();
    }
}

fn tls_acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    let chain = CertificateDer::pem_slice_iter(tls.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(StartError::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(tls.key_pem.expose().as_bytes()).map_err(StartError::Pem)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until draining begins, then waits for the connections. Dropped, it takes them all with it.
async fn accept(
    app: Arc<App>,
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<TlsAcceptor>,
    mut draining: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut refusing = app.faults.refusing();
    let mut listener = Some(listener);
    while !*draining.borrow() {
        let refuse = *refusing.borrow_and_update();
        if refuse {
            listener = None;
        } else if listener.is_none() {
            listener = rebind(addr).await;
        }
        tokio::select! {
            accepted = next(listener.as_ref()) => match accepted {
                Ok(tcp) => {
                    let served = connection::serve(app.clone(), tcp, tls.clone(), draining.clone());
                    let open = Open::new(app.clone());
                    connections.spawn(async move { served.await; drop(open) });
                }
                Err(error) => {
                    tracing::debug!(%addr, %error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = refusing.changed() => {}
            _ = draining.changed() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn next(listener: Option<&TcpListener>) -> std::io::Result<tokio::net::TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(tcp, _)| tcp),
        None => std::future::pending().await,
    }
}

/// The address again, after connections to it were refused. Someone else may have taken it meanwhile; then try again.
async fn rebind(addr: SocketAddr) -> Option<TcpListener> {
    let listener = TcpListener::bind(addr).await;
    if listener.is_err() {
        tokio::time::sleep(ACCEPT_RETRY).await;
    }
    listener.ok()
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Open(Arc<App>);

impl Open {
    fn new(app: Arc<App>) -> Self {
        app.counters.connections.fetch_add(1, Ordering::Relaxed);
        app.counters.open_connections.fetch_add(1, Ordering::Relaxed);
        Open(app)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}
