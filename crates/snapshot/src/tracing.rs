//! Traces: which requests' spans are kept, and the collector that gets them.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, uri::PathAndQuery};
use pailou_telemetry::{export::Resource, propagators::Propagators, sampling::Sampler};

use super::{Captured, ClusterKey, LogText, UpstreamTls};

/// Traces of a listener's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListenerTracing {
    /// Those of the process's environment, if it has any.
    #[default]
    Environment,
    /// None: the Gateway names a collector that cannot be had.
    Off,
    /// By settings of the Gateway's own.
    Own(Arc<Tracing>),
}

/// Settings of a Gateway's traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Decision which are kept.
    pub sampler: Sampler,
    /// Forms of trace context that are read and written.
    pub propagators: Propagators,
    /// The gateway, as spans name their process.
    pub resource: Resource,
    /// Receiver of spans.
    pub collector: Collector,
    /// Bounds of what waits for the collector.
    pub batching: Batching,
    /// Names and attributes that the configuration gives its spans, where it does.
    pub custom: Option<Arc<CustomSpans>>,
}

/// Names and attributes that the configuration gives spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomSpans {
    /// Name of a request's span; an empty one is the gateway's own.
    pub request_name: Option<LogText>,
    /// Name of an attempt's span.
    pub attempt_name: Option<LogText>,
    /// Attributes of both, each name once.
    pub tags: Vec<SpanTag>,
    /// Parts of a request that these name, to be kept until the end.
    pub captured: Arc<Captured>,
}

/// An attribute that the configuration gives spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanTag {
    /// Its name.
    pub name: Box<str>,
    /// Its value; an empty one is none.
    pub value: LogText,
    /// The value in place of an empty one.
    pub default: Option<Box<str>>,
}

/// A collector that speaks OTLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Its place.
    pub target: CollectorTarget,
    /// Protocol that it speaks.
    pub protocol: OtlpProtocol,
    /// Headers of every request to it. Credentials are among them: their values are marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Time for one request, the connection included.
    pub timeout: Duration,
    /// Requests are compressed with gzip.
    pub is_compressed: bool,
}

/// Place of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorTarget {
    /// A URL.
    Url(Arc<CollectorUrl>),
    /// Backends of the configuration, by weight.
    Backends(Vec<(u32, ClusterKey)>),
}

/// A collector's URL, taken apart.
#[derive(Clone, Debug)]
pub struct CollectorUrl {
    /// Name or IP address.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// The path of OTLP over HTTP; gRPC has a path of its own.
    pub path: PathAndQuery,
    /// TLS to it; clear text without.
    pub tls: Option<UpstreamTls>,
}

/// A process has its URL and certificates from its start to its end: what tells URLs apart is enough.
impl PartialEq for CollectorUrl {
    fn eq(&self, other: &Self) -> bool {
        let parts = |url: &Self| (Arc::clone(&url.host), url.port, url.path.clone(), url.tls.is_some());
        parts(self) == parts(other)
    }
}

impl Eq for CollectorUrl {}

/// Protocol towards a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// Protobuf over HTTP/1.1.
    HttpProtobuf,
}

/// Bounds of spans that wait for a collector (`OTEL_BSP_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Longest wait of a span for others.
    pub schedule_delay: Duration,
    /// Spans that wait; more are dropped.
    pub max_queue_size: usize,
    /// Spans of one request to the collector.
    pub max_batch_size: usize,
    /// Time for a batch, repetitions included; then it is dropped.
    pub export_timeout: Duration,
}

impl Default for Batching {
    /// OpenTelemetry's.
    fn default() -> Self {
        Self {
            schedule_delay: Duration::from_secs(5),
            max_queue_size: 2048,
            max_batch_size: 512,
            export_timeout: Duration::from_secs(30),
        }
    }
}
