//! One probe of one endpoint.

use std::{convert::Infallible, io, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header, uri::Scheme};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pailou_snapshot::{ActiveCheck, Address, Failure, HealthProbe, Protocol};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::grpc;
use crate::{
    cluster::ClusterState,
    dns::{Dns, ResolveError},
    tls::ClientTls,
};

/// Most bytes of an answer that are read.
const ANSWER_LIMIT: usize = 4 << 10;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("no answer in time")]
    Timeout,
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("TLS cannot be had: {}", .0.0)]
    Tls(Failure),
    #[error("no valid answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("the probe cannot be written: {0}")]
    Request(#[from] http::Error),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("the answer is too long or broke off")]
    Body,
    #[error("not serving by its own account")]
    NotServing,
}

/// A connection to an endpoint.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Probes an endpoint; `Ok` is healthy.
pub(super) async fn probe(cluster: &ClusterState, address: &Address, check: &ActiveCheck, dns: &Dns) -> Result<(), ProbeError> {
    tokio::time::timeout(check.timeout, send(cluster, address, &check.probe, dns)).await.unwrap_or(Err(ProbeError::Timeout))
}

async fn send(cluster: &ClusterState, address: &Address, probe: &HealthProbe, dns: &Dns) -> Result<(), ProbeError> {
    let tls = cluster.tls().map_err(ProbeError::Tls)?;
    let protocol = match probe {
        HealthProbe::Grpc { .. } => Protocol::Http2,
        HealthProbe::Http { .. } | HealthProbe::Tcp => cluster.settings().protocol,
    };
    let stream = connect(address, tls.as_deref(), protocol, dns).await?;
    let scheme = if tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    match probe {
        HealthProbe::Tcp => Ok(()),
        HealthProbe::Http { hostname, path, method, statuses } => {
            let host = hostname.as_deref().map_or_else(|| authority(address), str::to_owned);
            let request = Request::builder().method(method).header(header::USER_AGENT, "pailou-health-check");
            let uri = Uri::builder().path_and_query(&**path);
            let answer = match protocol {
                Protocol::Http1 | Protocol::Opaque => {
                    let request = request.uri(uri.build()?).header(header::HOST, &host).body(Empty::<Bytes>::new())?;
                    exchange_http1(stream, request).await?
                }
                Protocol::Http2 => {
                    let uri = uri.scheme(scheme).authority(host).build()?;
                    let request = request.version(Version::HTTP_2).uri(uri).body(Empty::<Bytes>::new())?;
                    exchange_http2(stream, request).await?
                }
            };
            let status = answer.response.status();
            if statuses.contains(&status) { Ok(()) } else { Err(ProbeError::Status(status)) }
        }
        HealthProbe::Grpc { service } => {
            let uri = Uri::builder().scheme(scheme).authority(authority(address)).path_and_query(grpc::PATH).build()?;
            let request = Request::post(uri)
                .version(Version::HTTP_2)
                .header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
                .header(header::TE, HeaderValue::from_static("trailers"))
                .body(Full::new(grpc::request(service)))?;
            let answer = exchange_http2(stream, request).await?;
            match answer.response.status() {
                StatusCode::OK if grpc::is_serving(&answer.body().await?) => Ok(()),
                StatusCode::OK => Err(ProbeError::NotServing),
                status => Err(ProbeError::Status(status)),
            }
        }
    }
}

/// Opens a connection as requests do: within TLS where the cluster has it, its certificate checked.
async fn connect(address: &Address, tls: Option<&ClientTls>, protocol: Protocol, dns: &Dns) -> Result<Box<dyn Stream>, ProbeError> {
    let stream: Box<dyn Stream> = match address {
        Address::Socket(address) => Box::new(TcpStream::connect(address).await?),
        Address::Dns { host, port } => Box::new(TcpStream::connect(&*dns.resolve(host, *port).await?).await?),
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
    };
    let Some(tls) = tls else { return Ok(stream) };
    let mut config = Arc::clone(&tls.config);
    if protocol == Protocol::Http2 {
        // gRPC is asked over HTTP/2 even where requests are not.
        Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
    }
    Ok(Box::new(TlsConnector::from(config).connect(tls.server_name.clone(), stream).await?))
}

/// The address as `Host` has it.
fn authority(address: &Address) -> String {
    match address {
        Address::Socket(_) | Address::Dns { .. } => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    }
}

/// An answer's head and body, with the connection it comes on.
struct Answer {
    response: Response<Incoming>,
    _connection: JoinSet<hyper::Result<()>>,
}

impl Answer {
    async fn body(self) -> Result<Bytes, ProbeError> {
        let body = Limited::new(self.response.into_body(), ANSWER_LIMIT).collect().await.map_err(|_| ProbeError::Body)?;
        Ok(body.to_bytes())
    }
}

async fn exchange_http1(stream: Box<dyn Stream>, request: Request<Empty<Bytes>>) -> Result<Answer, ProbeError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok(Answer { response: sender.send_request(request).await?, _connection: driver })
}

async fn exchange_http2<B>(stream: Box<dyn Stream>, request: Request<B>) -> Result<Answer, ProbeError>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok(Answer { response: sender.send_request(request).await?, _connection: driver })
}
