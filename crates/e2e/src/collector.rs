//! A collector of telemetry: OTLP over gRPC and over HTTP, and Envoy's access log service, on one port, with messages of its own definition.

mod logs;
mod metrics;
mod otlp;

pub use logs::{HttpLog, Record, StreamMessage};
pub use metrics::Point;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::address::loopback;
use crate::wait;

/// Paths of methods of gRPC.
const GRPC_TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC_LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const GRPC_METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// Path of the method of Envoy's access log service.
const ENVOY_LOGS: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// Bytes that wait on a stream which nobody reads.
const WINDOW: u32 = 65_535;

/// Answer of a collector.
#[derive(Clone, Debug, Default)]
pub enum Mood {
    /// It takes all.
    #[default]
    Takes,
    /// It takes all but so many spans.
    Rejects(i64),
    /// It answers with this status of HTTP, and this header.
    Answers(u16, Option<(&'static str, &'static str)>),
    /// It answers with this status of gRPC.
    Grpc(u16),
    /// It never answers.
    Holds,
}

/// A span, as it was received.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// Its trace, in hexadecimal digits.
    pub trace_id: String,
    /// Itself, in hexadecimal digits.
    pub span_id: String,
    /// Its parent, in hexadecimal digits; empty without one.
    pub parent: String,
    /// `tracestate`.
    pub trace_state: String,
    /// Its name.
    pub name: String,
    /// 2: server. 3: client.
    pub kind: i32,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// Its events, with their attributes.
    pub events: Vec<(String, BTreeMap<String, Value>)>,
    /// Its status is an error.
    pub is_error: bool,
    /// Attributes of its process.
    pub resource: BTreeMap<String, Value>,
}

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// The message, without frame and compression.
    pub message: Bytes,
}

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    mood: Mutex<Mood>,
    received: Mutex<Vec<Received>>,
    taken: Mutex<Vec<Span>>,
    records: Mutex<Vec<Record>>,
    entries: Mutex<Vec<StreamMessage>>,
    points: Mutex<Vec<Point>>,
    /// Changes end all streams.
    ends: watch::Sender<()>,
}

impl Collector {
    /// Starts one on an address of its own.
    ///
    /// # Panics
    /// The address is taken.
    pub async fn start() -> Self {
        Self::at(SocketAddr::from((loopback(), 4317))).await
    }

    /// Starts one at an address.
    ///
    /// # Panics
    /// The address is taken.
    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let state = Arc::new(State { mood: Mutex::new(Mood::Takes), ..State::default() });
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, task }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers in another way from now on.
    pub fn set(&self, mood: Mood) {
        *lock(&self.state.mood) = mood;
    }

    /// Ends, with its connections; gives its address.
    pub async fn stop(mut self) -> SocketAddr {
        self.task.abort();
        // An error is the end that was asked for.
        drop((&mut self.task).await);
        self.address
    }

    /// Ends all streams of entries in order.
    pub fn end_streams(&self) {
        self.state.ends.send_replace(());
    }

    /// Number of streams of entries that were opened.
    pub fn streams(&self) -> usize {
        self.received().iter().filter(|it| it.path == ENVOY_LOGS).count()
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state.received).clone()
    }

    /// All spans that it took.
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.state.taken).clone()
    }

    /// All log records that it took.
    pub fn records(&self) -> Vec<Record> {
        lock(&self.state.records).clone()
    }

    /// All points of metrics that it took.
    pub fn points(&self) -> Vec<Point> {
        lock(&self.state.points).clone()
    }

    /// Waits for a point of a metric.
    pub async fn point(&self, what: &str, wanted: impl Fn(&Point) -> bool) -> Point {
        wait::eventually_some(what, || self.points().into_iter().find(&wanted)).await
    }

    /// All messages of Envoy's access log service that it took.
    pub fn streamed(&self) -> Vec<StreamMessage> {
        lock(&self.state.entries).clone()
    }

    /// Waits for a log record.
    pub async fn record(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
        wait::eventually_some(what, || self.records().into_iter().find(&wanted)).await
    }

    /// Waits for an entry of a request of Envoy's access log service.
    pub async fn entry(&self, what: &str, wanted: impl Fn(&HttpLog) -> bool) -> HttpLog {
        let all = || self.streamed().into_iter().filter_map(|message| message.http_logs).flat_map(|logs| logs.entries);
        wait::eventually_some(what, || all().find(&wanted)).await
    }

    /// Waits for a span.
    pub async fn span(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Span {
        wait::eventually_some(what, || self.spans().into_iter().find(&wanted)).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, state.clone()));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let mut first = [0; 3];
    let is_http2 = stream.peek(&mut first).await.is_ok_and(|length| first[..length] == *b"PRI");
    let service = service_fn(|request| answer(request, state.clone()));
    let io = TokioIo::new(stream);
    if is_http2 {
        drop(http2::Builder::new(TokioExecutor::new()).initial_stream_window_size(WINDOW).serve_connection(io, service).await);
    } else {
        drop(http1::Builder::new().serve_connection(io, service).await);
    }
}

type Answer = Response<BoxBody<Bytes, std::convert::Infallible>>;

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, hyper::Error> {
    let (head, body) = request.into_parts();
    if head.uri.path() == ENVOY_LOGS {
        return stream(body, head.headers, &state).await;
    }
    let body = body.collect().await?.to_bytes();
    let is_grpc = head.headers.get("content-type").is_some_and(|value| value == "application/grpc");
    let is_compressed = is_grpc && body.first() == Some(&1);
    let message = message(&head.headers, &body, is_grpc);
    let path = head.uri.path().to_owned();
    assert_eq!(is_grpc, [GRPC_TRACES, GRPC_LOGS, GRPC_METRICS].contains(&&*path), "gRPC has paths of its own");
    lock(&state.received).push(Received { path: path.clone(), headers: head.headers, message: message.clone() });
    let mood = lock(&state.mood).clone();
    let rejected_spans = match mood {
        Mood::Holds => std::future::pending().await,
        Mood::Answers(status, header) => return Ok(refusal(status, header)),
        Mood::Grpc(status) => return Ok(grpc(Bytes::new(), status)),
        Mood::Takes => 0,
        Mood::Rejects(count) => count,
    };
    match path.as_str() {
        GRPC_LOGS => lock(&state.records).extend(logs::records(&message)),
        GRPC_METRICS | "/v1/metrics" => lock(&state.points).extend(metrics::points(&message)),
        _ => lock(&state.taken).extend(otlp::spans(&message)),
    }
    let error_message = if rejected_spans > 0 { "no" } else { "" }.to_owned();
    // As OpenTelemetry's collector: there, and empty where it took all.
    let partial_success = Some(otlp::PartialSuccess { rejected_spans, error_message });
    let message = otlp::ExportResponse { partial_success }.encode_to_vec();
    if is_grpc {
        // As grpc-go: in the request's coding, unless it is empty.
        let is_compressed = is_compressed && !message.is_empty();
        let message = if is_compressed { gzip(&message.into(), "-c") } else { message.into() };
        let mut framed = vec![u8::from(is_compressed)];
        framed.extend_from_slice(&u32::try_from(message.len()).expect("answers are short").to_be_bytes());
        framed.extend_from_slice(&message);
        let mut answer = grpc(framed.into(), 0);
        if is_compressed {
            answer.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        return Ok(answer);
    }
    Ok(Response::new(Full::from(message).boxed()))
}

/// A stream of entries: its first message names the sender, none after it does. The answer comes at its end, or with the refusal of a message.
async fn stream(mut body: Incoming, headers: HeaderMap, state: &State) -> Result<Answer, hyper::Error> {
    lock(&state.received).push(Received { path: ENVOY_LOGS.to_owned(), headers, message: Bytes::new() });
    let (mut left, mut sender) = (Vec::new(), None);
    let mut ends = state.ends.subscribe();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame.transpose()?,
            Ok(()) = ends.changed() => None,
        };
        let Some(frame) = frame else { return Ok(grpc(Bytes::new(), 0)) };
        left.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(message) = logs::next_message(&mut left) {
            let mood = lock(&state.mood).clone();
            match mood {
                Mood::Holds => std::future::pending().await,
                Mood::Answers(status, header) => return Ok(refusal(status, header)),
                Mood::Grpc(status) => return Ok(grpc(Bytes::new(), status)),
                Mood::Takes | Mood::Rejects(_) => {}
            }
            let mut entries = logs::entries(&message);
            assert_eq!(entries.identifier.is_some(), sender.is_none(), "the first message names the sender, and no other");
            sender = sender.or(entries.identifier.take());
            entries.identifier.clone_from(&sender);
            lock(&state.entries).push(entries);
        }
    }
}

fn refusal(status: u16, header: Option<(&'static str, &'static str)>) -> Answer {
    let mut response = Response::new(Full::from("no").boxed());
    *response.status_mut() = StatusCode::from_u16(status).expect("the test's status is valid");
    if let Some((name, value)) = header {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn grpc(body: Bytes, status: u16) -> Answer {
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(status))]);
    let mut response = Response::new(Full::new(body).with_trailers(std::future::ready(Some(Ok(trailers)))).boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// The message of a request, out of its frame and its compression.
fn message(headers: &HeaderMap, body: &Bytes, is_grpc: bool) -> Bytes {
    let is_gzip = |name: &str| headers.get(name).is_some_and(|value| value == "gzip");
    if !is_grpc {
        return if is_gzip("content-encoding") { gzip(body, "-dc") } else { body.clone() };
    }
    let length = u32::from_be_bytes(body[1..5].try_into().expect("a frame has a length"));
    assert_eq!(length as usize, body.len() - 5, "there is one message");
    assert_eq!(body[0] == 1, is_gzip("grpc-encoding"), "the frame says whether it is compressed");
    if body[0] == 1 { gzip(&body.slice(5..), "-dc") } else { body.slice(5..) }
}

fn gzip(bytes: &Bytes, option: &str) -> Bytes {
    let mut child = Command::new("gzip").arg(option).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip is here");
    let mut input = child.stdin.take().expect("standard input is a pipe");
    let bytes = bytes.clone();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().expect("gzip ends");
    assert!(output.status.success() && writer.join().is_ok_and(|it| it.is_ok()), "the body is gzip's");
    output.stdout.into()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
