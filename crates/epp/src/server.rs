//! Sockets, TLS and calls.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pailou_extproc::names;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{self, timeout},
};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower_service::Service;

use crate::{
    Certificate, CertificateError, EndpointPicker,
    calls::{Calls, Limits},
    tls,
};

/// Connections at the same time, of each socket; more wait to be accepted. Proxies keep few and open many streams on each.
const MAX_CONNECTIONS: usize = 4096;
/// Conversations at the same time on one connection.
const MAX_STREAMS: u32 = 4096;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of HTTP/2 pings on a connection, and time for the answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How long the proxies of requests that waited may take to read that they are refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval between two reads of the certificate's files.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// Flow-control windows of a stream and of a connection, in bytes.
const WINDOWS: (u32, u32) = (1 << 20, 16 << 20);
/// Services of the health protocol beside the whole server: the reference picker's.
const SERVICES: [&str; 4] = ["", "liveness", "readiness", names::SERVICE];

/// Options of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address for proxies.
    pub listen: SocketAddr,
    /// Address of gRPC's health protocol, without TLS.
    pub health: SocketAddr,
    /// The certificate; `None` speaks without TLS.
    pub certificate: Option<Certificate>,
    /// Limits of a call.
    pub limits: Limits,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A socket cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Socket {
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A server that proxies ask. It ends when it is dropped; [`drain`](Self::drain) lets what is under way end first.
pub struct Server {
    stop: watch::Sender<bool>,
    health: HealthReporter,
    picker: Arc<EndpointPicker>,
    proxies: JoinSet<()>,
    _tasks: JoinSet<()>,
}

/// How connections are answered. Clones are the same.
#[derive(Clone)]
struct ConnectionHandler {
    /// `None` at the health address.
    calls: Option<Calls>,
    health: HealthServer<HealthService>,
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
    stop: watch::Receiver<bool>,
}

impl Server {
    /// Begins to answer. Needs the runtime.
    ///
    /// # Errors
    /// A socket cannot be bound, or there is no certificate.
    pub async fn start(options: Options, picker: Arc<EndpointPicker>) -> Result<Self, BindError> {
        let tls = options.certificate.as_ref().map(tls::config).transpose()?.map(|config| Arc::new(ArcSwap::new(config)));
        let (listener, health_listener) = (bind(options.listen).await?, bind(options.health).await?);
        let (stop, stopped) = watch::channel(false);
        let health = HealthReporter::new();
        let mut tasks = JoinSet::new();
        if let (Some(tls), Some(certificate)) = (&tls, options.certificate) {
            tasks.spawn(reload(certificate, tls.clone()));
        }
        tasks.spawn(report(health.clone(), picker.readiness(), stopped.clone()));
        let service = HealthServer::new(HealthService::from_health_reporter(health.clone()));
        let calls = Some(Calls::new(picker.clone(), &options.limits));
        let handler = ConnectionHandler { calls, health: service, tls, stop: stopped };
        // Health answers go on while requests end.
        let silent = watch::channel(false).1;
        tasks.spawn(accept(health_listener, ConnectionHandler { calls: None, tls: None, stop: silent, ..handler.clone() }));
        let mut proxies = JoinSet::new();
        proxies.spawn(accept(listener, handler));
        Ok(Self { stop, health, picker, proxies, _tasks: tasks })
    }

    /// Says that it is not healthy any more, takes no new calls, and waits until those under way have ended, for at most `limit`.
    /// Gives back whether they have.
    pub async fn drain(mut self, limit: Duration) -> bool {
        set(&self.health, false).await;
        self.stop.send_replace(true);
        let mut is_done = timeout(limit, self.proxies.join_next()).await.is_ok();
        if !is_done && self.picker.close_queue() {
            // Those that waited hear of it.
            is_done = timeout(REFUSAL_TIMEOUT, self.proxies.join_next()).await.is_ok();
        }
        is_done
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError::Socket { address, source })
}

/// Tells health as the pool comes and goes. The process lives either way.
async fn report(health: HealthReporter, mut ready: watch::Receiver<bool>, stopped: watch::Receiver<bool>) {
    loop {
        let is_ready = *ready.borrow_and_update();
        if *stopped.borrow() {
            return;
        }
        set(&health, is_ready).await;
        if ready.changed().await.is_err() {
            return;
        }
    }
}

async fn set(health: &HealthReporter, is_ready: bool) {
    for service in SERVICES {
        let is_serving = is_ready || service == "liveness";
        let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status(service, status).await;
    }
}

/// Looks at the certificate's files now and then; those that cannot be used leave what there is.
async fn reload(certificate: Certificate, tls: Arc<ArcSwap<ServerConfig>>) {
    let Certificate::Directory(_) = certificate else { return };
    let mut is_failing = false;
    loop {
        time::sleep(RELOAD_INTERVAL).await;
        match tls::config(&certificate) {
            Ok(config) => {
                tls.store(config);
                is_failing = false;
            }
            Err(error) if !is_failing => {
                tracing::warn!(%error, "cannot reload the certificate; serving the former one");
                is_failing = true;
            }
            Err(_) => {}
        }
    }
}

/// Accepts until it is to stop, and then waits for the connections to end.
async fn accept(listener: TcpListener, handler: ConnectionHandler) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut stop = handler.stop.clone();
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            // An error says that nobody can ask for it any more.
            Ok(_) = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let handler = handler.clone();
                connections.spawn(async move {
                    if let Err(error) = handler.connection(stream).await {
                        tracing::debug!("connection of {peer}: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept proxies: {error}");
                time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl ConnectionHandler {
    async fn connection(self, stream: TcpStream) -> Result<(), Failure> {
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.load_full());
                let stream = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
                self.serve(stream).await
            }
            None => self.serve(stream).await,
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<(), Failure> {
        let mut stop = self.stop.clone();
        let service = service_fn(move |request| {
            let handler = self.clone();
            async move { Ok::<_, Infallible>(handler.answer(request).await) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            result = connection.as_mut() => return Ok(result?),
            Ok(_) = stop.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }

    async fn answer(mut self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        match self.calls.take() {
            Some(calls) if path == names::METHOD_PATH => calls.answer(request).await,
            _ if path.starts_with("/grpc.health.v1.Health/") => match self.health.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            _ => unimplemented(),
        }
    }
}

/// gRPC's answer for an unknown method.
fn unimplemented() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", hyper::header::HeaderValue::from_static("12"));
    response
}
