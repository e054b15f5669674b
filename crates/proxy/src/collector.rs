//! Requests to a collector of telemetry: one batch over OTLP, and what its answer means.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, response::Parts, uri::PathAndQuery};
use http_body_util::{BodyExt, Limited};
use pailou_ai::{
    Pieces,
    content_coding::{Codings, Step},
};
use pailou_envoy_proto::{
    frame,
    grpc::{self, CallFailure, UnaryMessage},
};
use pailou_snapshot::{Address, Collector, CollectorTarget, CollectorUrl, OtlpProtocol, Protocol, Timeouts};
use pailou_telemetry::export::rejected_items;
use tokio::time::timeout;

use crate::{
    cluster::ClusterState,
    dns::Dns,
    envelope::Envelope,
    local_addresses::LocalAddresses,
    log_frames::LogFrames,
    request_body::RequestBody,
    subrequest::{self, SubrequestError},
    tls::ClientTls,
    upstream::{Destination, Exchange, SendFailure, Upstreams},
};

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// gRPC statuses after which a request may be sent again, by OTLP: cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
const RETRYABLE: [&str; 6] = ["1", "4", "10", "11", "14", "15"];
/// The same of HTTP.
const RETRYABLE_STATUSES: [StatusCode; 4] =
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];

/// Reason why a collector did not take a batch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportFailure {
    #[error("there was no answer within {} ms", .0.as_millis())]
    Late(Duration),
    #[error("TLS cannot be had: {0}")]
    Tls(String),
    #[error("{0}")]
    Send(#[from] Box<SendFailure>),
    #[error("{0}")]
    Backend(#[from] SubrequestError),
    #[error("its backend is not there")]
    NoBackend,
    #[error("its answer broke off, or is longer than {MAX_ANSWER} bytes")]
    Body,
    #[error("{0}")]
    Call(CallFailure),
    #[error("it ended the stream")]
    StreamEnded,
    #[error("it answered {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
}

impl ExportFailure {
    /// Whether the batch may be sent again.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Late(_) | Self::Send(_) | Self::Backend(_) | Self::NoBackend | Self::Body | Self::StreamEnded => true,
            Self::Tls(_) => false,
            Self::Call(CallFailure::Grpc { code, .. }) => RETRYABLE.contains(&code.as_str()),
            Self::Call(CallFailure::Status(status)) | Self::Status { status, .. } => RETRYABLE_STATUSES.contains(status),
            // Without a status nobody knows whether it took the batch.
            Self::Call(CallFailure::Framing) => false,
        }
    }

    /// When the collector wants it again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Connections to a collector.
pub(crate) struct CollectorClient {
    envelope: Envelope,
    upstreams: Upstreams,
    tls: Result<Option<Arc<ClientTls>>, String>,
}

impl CollectorClient {
    /// Connections for messages in this envelope.
    pub(crate) fn new(settings: &Collector, envelope: Envelope, dns: Dns) -> Self {
        let tls = match &settings.target {
            CollectorTarget::Url(url) => {
                url.tls.as_ref().map(|tls| ClientTls::new(tls, http_version(settings.protocol))).transpose()
            }
            CollectorTarget::Backends(_) => Ok(None),
        };
        Self { envelope, upstreams: Upstreams::new(dns), tls: tls.map_err(|error| error.to_string()) }
    }

    /// Sends a batch, already encoded as a request. Gives the number of items that the collector did not take, and does not want again.
    ///
    /// # Errors
    /// It took none.
    pub(crate) async fn send(
        &self,
        settings: &Collector,
        backend: Option<&Arc<ClusterState>>,
        message: OtlpMessage,
    ) -> Result<u64, ExportFailure> {
        let sent = self.send_slowly(settings, backend, message);
        timeout(settings.timeout, sent).await.unwrap_or(Err(ExportFailure::Late(settings.timeout)))
    }

    async fn send_slowly(
        &self,
        settings: &Collector,
        backend: Option<&Arc<ClusterState>>,
        message: OtlpMessage,
    ) -> Result<u64, ExportFailure> {
        let timeouts = Timeouts { connect: settings.timeout, ..Timeouts::default() };
        let exchange = match &settings.target {
            CollectorTarget::Url(url) => {
                let tls = self.tls.as_ref().map_err(|error| ExportFailure::Tls(error.clone()))?;
                let address = address(url);
                let destination = Destination {
                    tls: tls.as_ref(),
                    protocol: http_version(settings.protocol),
                    local_addresses: LocalAddresses::Allowed,
                    is_watched: settings.protocol == OtlpProtocol::Grpc,
                    ..Destination::new(&address, &timeouts)
                };
                let host = match url.host.contains(':') {
                    true => format!("[{}]:{}", url.host, url.port),
                    false => format!("{}:{}", url.host, url.port),
                };
                let path = match settings.protocol {
                    OtlpProtocol::Grpc => PathAndQuery::from_static(self.envelope.grpc_path()),
                    OtlpProtocol::HttpProtobuf => url.path.clone(),
                };
                self.upstreams.send_request(&destination, message.request(settings, path, &host)).await?
            }
            CollectorTarget::Backends(_) => {
                let cluster = backend.ok_or(ExportFailure::NoBackend)?;
                let make = |address: &Address| {
                    let path = match settings.protocol {
                        OtlpProtocol::Grpc => self.envelope.grpc_path(),
                        OtlpProtocol::HttpProtobuf => self.envelope.http_path(),
                    };
                    let host = subrequest::host(cluster.key(), address);
                    (message.request(settings, PathAndQuery::from_static(path), &host), ())
                };
                subrequest::send_over(cluster, &self.upstreams, &timeouts, make, || true).await?.0
            }
        };
        answer(settings.protocol, exchange).await
    }

    /// Sends the messages of a stream, until the collector ends it.
    ///
    /// # Errors
    /// It ended the stream with an error, or there is none.
    pub(crate) async fn stream(
        &self,
        settings: &Collector,
        backend: Option<&Arc<ClusterState>>,
        frames: &LogFrames,
    ) -> Result<(), ExportFailure> {
        let timeouts = Timeouts { connect: settings.timeout, ..Timeouts::default() };
        let cluster = backend.ok_or(ExportFailure::NoBackend)?;
        let make = |address: &Address| {
            let host = subrequest::host(cluster.key(), address);
            let path = PathAndQuery::from_static(self.envelope.grpc_path());
            (request(settings, path, &host, RequestBody::logs(frames.clone()), false), ())
        };
        let (exchange, ()) = subrequest::send_over(cluster, &self.upstreams, &timeouts, make, || !frames.has_begun()).await?;
        answer(OtlpProtocol::Grpc, exchange).await.map(|_| ())
    }
}

/// A batch as it is sent.
#[derive(Clone)]
pub(crate) struct OtlpMessage {
    body: Pieces,
    is_compressed: bool,
}

impl OtlpMessage {
    /// The message; `compressed` holds it compressed.
    pub(crate) fn new(protocol: OtlpProtocol, message: Pieces, is_compressed: bool) -> Self {
        let body = match protocol {
            OtlpProtocol::HttpProtobuf => message,
            OtlpProtocol::Grpc => {
                let mut prefix = BytesMut::with_capacity(frame::PREFIX_LENGTH);
                frame::put_prefix(&mut prefix, is_compressed, message.len());
                std::iter::once(prefix.freeze()).chain(message).collect()
            }
        };
        Self { body, is_compressed }
    }

    fn request(&self, settings: &Collector, path: PathAndQuery, host: &str) -> Request<RequestBody> {
        request(settings, path, host, RequestBody::held(self.body.clone()), self.is_compressed)
    }
}

fn request(settings: &Collector, path: PathAndQuery, host: &str, body: RequestBody, is_compressed: bool) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(path);
    let map = request.headers_mut();
    // Before ours, which are the protocol's.
    for (name, value) in &settings.headers {
        map.append(name.clone(), value.clone());
    }
    if let Ok(host) = HeaderValue::try_from(host) {
        map.insert(header::HOST, host);
    }
    map.insert(header::USER_AGENT, HeaderValue::from_static(concat!("OTel-OTLP-Exporter-Rust/pailou-", env!("CARGO_PKG_VERSION"))));
    let (media_type, coding) = match settings.protocol {
        OtlpProtocol::Grpc => ("application/grpc", "grpc-encoding"),
        OtlpProtocol::HttpProtobuf => ("application/x-protobuf", "content-encoding"),
    };
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if settings.protocol == OtlpProtocol::Grpc {
        map.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if is_compressed {
        map.insert(coding, HeaderValue::from_static("gzip"));
    }
    request
}

async fn answer(protocol: OtlpProtocol, exchange: Exchange) -> Result<u64, ExportFailure> {
    let (head, body) = exchange.response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| ExportFailure::Body)?;
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    match protocol {
        OtlpProtocol::Grpc => {
            let message = grpc::unary_message(&head, &body, trailers.as_ref()).map_err(ExportFailure::Call)?;
            // The status says that it took the batch; a message that cannot be read takes nothing back.
            Ok(message.and_then(|message| uncompressed(message, &head.headers)).map_or(0, |message| rejected_items(&message)))
        }
        OtlpProtocol::HttpProtobuf if head.status.is_success() => Ok(rejected_items(&body)),
        OtlpProtocol::HttpProtobuf => {
            let Parts { status, headers, .. } = head;
            Err(ExportFailure::Status { status, retry_after: retry_after(&headers) })
        }
    }
}

/// The message of an answer, which may be in the coding of the request. `None` where it is not of its coding, or too long.
fn uncompressed(message: UnaryMessage, map: &HeaderMap) -> Option<Bytes> {
    if !message.is_compressed {
        return Some(message.bytes);
    }
    let codings = Codings::of(map.get_all("grpc-encoding").iter().map(HeaderValue::as_bytes))?;
    let mut decoding = codings.decoding(&message.bytes, MAX_ANSWER as u64);
    loop {
        if let Step::Whole(message) = decoding.step().ok()? {
            return Some(message);
        }
    }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(map: &HeaderMap) -> Option<Duration> {
    let text = map.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(std::time::SystemTime::now()).ok(),
    }
}

fn address(url: &CollectorUrl) -> Address {
    match url.host.parse() {
        Ok(ip) => Address::Socket(SocketAddr::new(ip, url.port)),
        Err(_) => Address::Dns { host: Arc::clone(&url.host), port: url.port },
    }
}

fn http_version(protocol: OtlpProtocol) -> Protocol {
    match protocol {
        OtlpProtocol::Grpc => Protocol::Http2,
        OtlpProtocol::HttpProtobuf => Protocol::Http1,
    }
}
