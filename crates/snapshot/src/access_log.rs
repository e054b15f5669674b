//! Access logs of a Gateway's own: formats, conditions and sinks, compiled to steps that a request's end takes.

use std::{path::Path, sync::Arc};

use http::HeaderName;
use pailou_auth::Condition;
use pailou_telemetry::export::Resource;

use super::{Batching, Collector};

/// Access log of a listener.
#[derive(Clone, Debug, Default)]
pub enum ListenerAccessLog {
    /// That of the process.
    #[default]
    Process,
    /// None.
    Off,
    /// By settings of the Gateway's own.
    Own(Arc<AccessLogs>),
}

/// Access logs of a Gateway.
#[derive(Debug, Default)]
pub struct AccessLogs {
    /// Each by itself.
    pub logs: Vec<AccessLog>,
    /// Parts of a request to keep until it ends.
    pub captured: Arc<Captured>,
}

/// One log.
#[derive(Debug)]
pub struct AccessLog {
    /// Events that it has a line for.
    pub scope: LogScope,
    /// Conditions of which one has to hold; none is always.
    pub matches: Vec<Condition>,
    /// Form of lines.
    pub format: LogFormat,
    /// Receivers.
    pub sinks: Vec<LogSink>,
}

/// Events that a log has a line for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogScope {
    /// Requests and forwarded connections, and clients that get to none.
    Default,
    /// Requests and forwarded connections.
    Route,
    /// Connections of clients, whatever comes of them.
    Listener,
    /// Attempts at backends.
    Upstream,
}

/// Parts of requests that logs name, to be kept until the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Headers of the request.
    pub request: Vec<HeaderName>,
    /// Headers of the response.
    pub response: Vec<HeaderName>,
    /// Trailers of the response.
    pub trailers: Vec<HeaderName>,
    /// All headers of the request, for conditions.
    pub all_request: bool,
    /// All headers of the response, for conditions.
    pub all_response: bool,
    /// The query.
    pub query: bool,
    /// Each attempt.
    pub attempts: bool,
}

/// Form of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A text.
    Text(LogText),
    /// Members of an object, by name.
    Json(Vec<(Box<str>, LogText)>),
}

/// A text with command operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogText(pub Vec<LogPart>);

/// Part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPart {
    /// As it stands.
    Text(Box<str>),
    /// A fact of the request, cut at a length in bytes.
    Operator(LogOperator, Option<usize>),
}

/// Place of a header among those that are [`Captured`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderPlace(pub usize);

/// A fact of a request, by Envoy's command operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOperator {
    /// `START_TIME`.
    StartTime(TimeFormat),
    /// `EMIT_TIME`.
    EmitTime(TimeFormat),
    /// `REQ(:METHOD)`.
    Method,
    /// `REQ(:PATH)`: without its query.
    Path,
    /// `REQ(:AUTHORITY)`.
    Authority,
    /// `REQ(:SCHEME)`.
    Scheme,
    /// `REQ(name)`.
    RequestHeader(HeaderPlace),
    /// `REQ(X-FORWARDED-FOR)`: with the gateway's own entry.
    ForwardedFor(HeaderPlace),
    /// `REQ(X-REQUEST-ID)`: the client's, or the gateway's own.
    RequestId,
    /// `REQ(X-GATEWAY-MODEL-NAME)` and the like: the model of the body.
    Model,
    /// `REQ_WITHOUT_QUERY(name)`.
    RequestUrl(HeaderPlace),
    /// `RESP(name)`.
    ResponseHeader(HeaderPlace),
    /// `TRAILER(name)`.
    Trailer(HeaderPlace),
    /// `REQ(name?other)`: the first that is there.
    First(Box<[LogOperator; 2]>),
    /// `QUERY_PARAM(name)`.
    QueryParameter(Box<str>),
    /// `PROTOCOL`.
    Protocol,
    /// `RESPONSE_CODE`.
    ResponseCode,
    /// `RESPONSE_CODE_DETAILS`.
    ResponseCodeDetails,
    /// `RESPONSE_FLAGS`.
    ResponseFlags,
    /// `RESPONSE_FLAGS_LONG`.
    ResponseFlagsLong,
    /// `GRPC_STATUS`: its name.
    GrpcStatus(GrpcStatusForm),
    /// `BYTES_RECEIVED`.
    BytesReceived,
    /// `BYTES_SENT`.
    BytesSent,
    /// `DURATION`, milliseconds.
    Duration,
    /// `RESPONSE_DURATION`: to the response's head.
    ResponseDuration,
    /// `RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)`: milliseconds to the head of a backend's response.
    UpstreamServiceTime,
    /// `RESPONSE_TX_DURATION`: from the response's head to its end.
    ResponseTxDuration,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`.
    Attempts,
    /// `UPSTREAM_HOST` and the like.
    Upstream(AddressPart),
    /// `UPSTREAM_HOST_NAME`.
    UpstreamName,
    /// `UPSTREAM_CLUSTER`.
    UpstreamCluster,
    /// `UPSTREAM_TRANSPORT_FAILURE_REASON`.
    TransportFailure,
    /// `CONNECTION_TERMINATION_DETAILS`.
    TerminationDetails,
    /// `DOWNSTREAM_REMOTE_ADDRESS` and the like: the client as the listener finds it.
    Client(AddressPart),
    /// `DOWNSTREAM_DIRECT_REMOTE_ADDRESS` and the like: the connection's other end.
    Peer(AddressPart),
    /// `DOWNSTREAM_LOCAL_ADDRESS` and the like.
    Local(AddressPart),
    /// `REQUESTED_SERVER_NAME`.
    ServerName,
    /// `ROUTE_NAME`.
    RouteName,
    /// `TRACE_ID`.
    TraceId,
    /// `SPAN_ID`.
    SpanId,
    /// `HOSTNAME`.
    Hostname,
    /// `ENVIRONMENT(name)`.
    Environment(Box<str>),
    /// `DYNAMIC_METADATA(namespace:key)`.
    Metadata(LogMetadata),
    /// `ACCESS_LOG_TYPE`.
    LogType,
    /// Facts that the gateway never knows.
    Unknown,
}

/// Part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPart {
    /// Both.
    Whole,
    /// Without port.
    Ip,
    /// The port.
    Port,
}

/// Form of a status of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcStatusForm {
    /// `NotFound`.
    Camel,
    /// `NOT_FOUND`.
    Snake,
    /// `5`.
    Number,
}

/// Facts of a model call, which Envoy has as metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogMetadata {
    /// Tokens of the prompt.
    InputTokens,
    /// Those of them from the cache.
    CachedInputTokens,
    /// Those of them that went into the cache.
    CacheCreationInputTokens,
    /// Tokens of the answer.
    OutputTokens,
    /// Those of them that are reasoning.
    ReasoningTokens,
    /// All.
    TotalTokens,
    /// The price in US dollars.
    CostUsd,
    /// The model that the client asked for.
    Model,
    /// The engine's name for it.
    TargetModel,
    /// The endpoint's name.
    Endpoint,
    /// The endpoint that computed the prompt for that one.
    PrefillEndpoint,
    /// The listener.
    Listener,
    /// Wait for an endpoint with room, milliseconds.
    QueueMs,
    /// Time to first token, milliseconds.
    TtftMs,
}

/// Form of a time, in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// To the millisecond, as RFC 3339 has it.
    Rfc3339,
    /// By parts.
    Parts(Vec<TimePart>),
}

/// Part of a time's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimePart {
    /// Specifiers of `strftime`, and texts.
    Strftime(Box<str>),
    /// So many digits of the fraction of a second.
    Fraction(u8),
    /// Seconds since 1970.
    UnixSeconds,
}

/// Receiver of lines.
#[derive(Clone, Debug)]
pub enum LogSink {
    /// A file, or a standard stream.
    File(Arc<Path>),
    /// A collector of OpenTelemetry.
    OpenTelemetry(Arc<LogCollector>),
    /// Envoy's access log service.
    Service(Arc<LogCollector>, Arc<ServiceHeaders>),
}

/// A collector of log records.
#[derive(Debug, PartialEq, Eq)]
pub struct LogCollector {
    /// Protocol, and the gateway's names in it.
    pub sender: LogSender,
    /// Its place.
    pub collector: Collector,
    /// Bounds of what waits for it.
    pub batching: Batching,
}

/// Protocol to a collector of log records, and the gateway's names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSender {
    /// OTLP.
    Otlp(Resource),
    /// Envoy's access log service.
    Service {
        /// Entries are of connections, not of requests.
        is_tcp: bool,
        /// The log's name.
        log_name: Box<str>,
        /// The Gateway: namespace and name.
        gateway: Box<str>,
    },
}

/// Headers in entries for an access log service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceHeaders {
    /// Of requests.
    pub request: Vec<HeaderPlace>,
    /// Of responses.
    pub response: Vec<HeaderPlace>,
    /// Trailers.
    pub trailers: Vec<HeaderPlace>,
    /// `User-Agent`, which has a field of its own, as the next two have.
    pub user_agent: Option<HeaderPlace>,
    /// `Referer`, without its query.
    pub referer: Option<HeaderPlace>,
    /// `X-Forwarded-For`.
    pub forwarded_for: Option<HeaderPlace>,
}

impl Captured {
    /// The place of a request's header, which is kept from now on.
    pub fn request(&mut self, name: HeaderName) -> HeaderPlace {
        place(&mut self.request, name)
    }

    /// The place of a response's header, which is kept from now on.
    pub fn response(&mut self, name: HeaderName) -> HeaderPlace {
        place(&mut self.response, name)
    }

    /// The place of a trailer, which is kept from now on.
    pub fn trailer(&mut self, name: HeaderName) -> HeaderPlace {
        place(&mut self.trailers, name)
    }
}

fn place(all: &mut Vec<HeaderName>, name: HeaderName) -> HeaderPlace {
    HeaderPlace(all.iter().position(|known| *known == name).unwrap_or_else(|| {
        all.push(name);
        all.len() - 1
    }))
}
