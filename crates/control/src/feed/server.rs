//! The feed's server.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::Client;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time,
};
use tokio_rustls::TlsAcceptor;

use super::{
    PATH,
    access::{self, Refusal},
    admin_token::AdminSigner,
    authority::{self, CertificateOptions},
    reached::Reached,
    session,
};
use crate::ClusterState;

/// Most proxies that are fed by one replica.
const MAX_CONNECTIONS: usize = 8192;
/// How long a handshake, and then a request's head, may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Options of a feed's server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to bind.
    pub listen: SocketAddr,
    /// The controller's namespace.
    pub namespace: String,
    /// The Secret that keeps the feed's authority.
    pub secret: String,
    /// Host names that proxies know the feed by.
    pub names: Vec<String>,
}

/// A feed that is served. It ends when it is dropped.
#[derive(Debug)]
pub struct Feed {
    authorities: watch::Receiver<Option<Arc<str>>>,
    signer: watch::Receiver<Option<Arc<AdminSigner>>>,
    _tasks: JoinSet<()>,
}

impl Feed {
    /// Begins to serve. Needs the runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(client: Client, options: Options, known: watch::Receiver<Option<ClusterState>>) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let (send_authorities, authorities) = watch::channel(None);
        let (send_tls, tls) = watch::channel(None);
        let (send_signer, signer) = watch::channel(None);
        let certificate = CertificateOptions { namespace: options.namespace, secret: options.secret, names: options.names };
        let mut tasks = JoinSet::new();
        tasks.spawn(authority::keep(client.clone(), certificate, send_authorities, send_tls, send_signer));
        let reached = Reached::default();
        tasks.spawn(reached.clone().keep(known.clone()));
        tasks.spawn(accept(listener, Server { client, known, reached, tls }));
        Ok(Self { authorities, signer, _tasks: tasks })
    }

    /// The authorities that proxies trust, in PEM; `None` until the Secret has been read.
    pub fn authorities(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.authorities.clone()
    }

    /// Signs tokens for the admin endpoints of proxies; `None` until the Secret has been read.
    pub fn signer(&self) -> watch::Receiver<Option<Arc<AdminSigner>>> {
        self.signer.clone()
    }
}

#[derive(Clone)]
struct Server {
    client: Client,
    known: watch::Receiver<Option<ClusterState>>,
    reached: Reached,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
}

async fn accept(listener: TcpListener, server: Server) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let server = server.clone();
                connections.spawn(async move {
                    if let Err(error) = server.serve(stream).await {
                        tracing::debug!("feed of {peer}: {error}");
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
}

type FeedResponse = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Server {
    async fn serve(self, stream: TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(config) = self.tls.borrow().clone() else { return Err("there is no certificate yet".into()) };
        stream.set_nodelay(true)?;
        let stream = time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await??;
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(&request).await) }
        });
        let mut connection = http1::Builder::new();
        connection.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT).keep_alive(false);
        Ok(connection.serve_connection(TokioIo::new(stream), service).await?)
    }

    async fn answer(&self, request: &Request<Incoming>) -> FeedResponse {
        if request.uri().path() != PATH {
            return text_response(StatusCode::NOT_FOUND, "there is nothing here");
        }
        if request.method() != Method::GET {
            return text_response(StatusCode::METHOD_NOT_ALLOWED, "use GET");
        }
        let Some(known) = self.known.borrow().clone() else {
            return text_response(StatusCode::SERVICE_UNAVAILABLE, "the cluster's objects are not all known yet");
        };
        let authorization = request.headers().get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        match access::gateway(&self.client, &known, authorization).await {
            Ok(gateway) => {
                tracing::debug!("feeding a proxy of Gateway {gateway}");
                let lines = session::lines(self.reached.of(&gateway)).map(|lines| Ok(Frame::data(lines)));
                let mut answer = Response::new(StreamBody::new(lines).boxed_unsync());
                answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-ndjson"));
                answer
            }
            Err(refusal) => {
                tracing::warn!("refused a proxy: {refusal}");
                let status = match &refusal {
                    Refusal::NoToken | Refusal::Invalid => StatusCode::UNAUTHORIZED,
                    Refusal::Stranger(_) => StatusCode::FORBIDDEN,
                    Refusal::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
                };
                text_response(status, &refusal.to_string())
            }
        }
    }
}

fn text_response(status: StatusCode, text: &str) -> FeedResponse {
    let mut answer = Response::new(Full::from(format!("{text}\n")).boxed_unsync());
    *answer.status_mut() = status;
    answer
}
