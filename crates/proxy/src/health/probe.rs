//! One probe of one endpoint.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header, uri::Scheme};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pailou_snapshot::{ActiveCheck, Address, Failure, HealthProbe, Protocol, Timeouts};
use tokio::task::JoinSet;

use super::grpc;
use crate::{
    cluster::{ClusterSettings, EndpointState},
    dns::Dns,
    upstream::{Destination, FailureKind, Io, Limits, connect_unlimited, dial},
};

/// Most bytes of an answer that are read.
const ANSWER_LIMIT: usize = 4 << 10;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Connect(#[from] FailureKind),
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

/// Probes an endpoint; `Ok` is healthy.
pub(super) async fn probe(
    settings: &ClusterSettings,
    endpoint: &Arc<EndpointState>,
    check: &ActiveCheck,
    dns: &Dns,
) -> Result<(), ProbeError> {
    tokio::time::timeout(check.timeout, send(settings, endpoint, check, dns)).await.unwrap_or(Err(ProbeError::Timeout))
}

async fn send(settings: &ClusterSettings, endpoint: &Arc<EndpointState>, check: &ActiveCheck, dns: &Dns) -> Result<(), ProbeError> {
    let clocks = Timeouts { connect: check.timeout, ..Timeouts::default() };
    let destination = dial(settings, endpoint, &clocks, Limits::default()).map_err(ProbeError::Tls)?;
    // gRPC is asked over HTTP/2 even where requests are not.
    let over_http2 =
        destination.tls.filter(|_| matches!(check.probe, HealthProbe::Grpc { .. })).map(|tls| Arc::new(tls.over(Protocol::Http2)));
    let destination = Destination { tls: over_http2.as_ref().or(destination.tls), ..destination };
    let named = destination.tls.zip(hostname(check)).and_then(|(tls, host)| tls.for_host(&host));
    let destination = Destination { tls: named.as_ref().or(destination.tls), ..destination };
    let address = destination.address;
    let stream = connect_unlimited(dns, &destination).await?;
    let scheme = if destination.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    match &check.probe {
        HealthProbe::Tcp => Ok(()),
        HealthProbe::Http { hostname, path, method, statuses } => {
            let host = hostname.as_deref().map_or_else(|| authority(address), str::to_owned);
            let request = Request::builder().method(method).header(header::USER_AGENT, "pailou-health-check");
            let uri = Uri::builder().path_and_query(&**path);
            let answer = match destination.protocol {
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

/// The host that a check names.
fn hostname(check: &ActiveCheck) -> Option<HeaderValue> {
    let HealthProbe::Http { hostname, .. } = &check.probe else { return None };
    HeaderValue::from_str(hostname.as_deref()?).ok()
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

async fn exchange_http1(stream: Io, request: Request<Empty<Bytes>>) -> Result<Answer, ProbeError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok(Answer { response: sender.send_request(request).await?, _connection: driver })
}

async fn exchange_http2<B>(stream: Io, request: Request<B>) -> Result<Answer, ProbeError>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok(Answer { response: sender.send_request(request).await?, _connection: driver })
}
