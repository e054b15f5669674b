//! OTLP's log records, and entries of Envoy's access log service, with the numbers of their definitions.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use serde_json::Value as Json;

use super::otlp::{AnyValue, KeyValue, Resource, attributes, hex};

/// A log record, as it was received.
#[derive(Clone, Debug)]
pub struct Record {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Time at which the gateway made it, in nanoseconds since 1970.
    pub observed: u64,
    /// Flags of its trace.
    pub flags: u32,
    /// Its text; `Null` without one.
    pub body: Json,
    /// Its attributes.
    pub attributes: BTreeMap<String, Json>,
    /// Its trace and its span, in hexadecimal digits.
    pub trace_id: String,
    /// Its span, in hexadecimal digits.
    pub span_id: String,
    /// Attributes of its process.
    pub resource: BTreeMap<String, Json>,
}

/// The records of a request.
///
/// # Panics
/// The message is none.
pub(super) fn records(message: &[u8]) -> Vec<Record> {
    let request = LogsRequest::decode(message).expect("the message is OTLP's");
    let mut records = Vec::new();
    for of_resource in request.resource_logs {
        let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
        for record in of_resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            records.push(Record {
                time: record.time_unix_nano,
                observed: record.observed_time_unix_nano,
                flags: record.flags,
                body: record.body.map_or(Json::Null, AnyValue::json),
                attributes: attributes(record.attributes),
                trace_id: hex(&record.trace_id),
                span_id: hex(&record.span_id),
                resource: resource.clone(),
            });
        }
    }
    records
}

/// Entries of a message of Envoy's access log service.
///
/// # Panics
/// The message is none.
pub(super) fn entries(message: &[u8]) -> StreamMessage {
    StreamMessage::decode(message).expect("the message is the access log service's")
}

#[derive(Clone, PartialEq, prost::Message)]
struct LogsRequest {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeLogs {
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(fixed32, tag = "8")]
    flags: u32,
    #[prost(bytes = "vec", tag = "9")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    span_id: Vec<u8>,
    #[prost(fixed64, tag = "11")]
    observed_time_unix_nano: u64,
}

/// `StreamAccessLogsMessage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamMessage {
    /// The sender.
    #[prost(message, optional, tag = "1")]
    pub identifier: Option<Identifier>,
    /// Entries of requests.
    #[prost(message, optional, tag = "2")]
    pub http_logs: Option<HttpLogs>,
    /// Entries of connections.
    #[prost(message, optional, tag = "3")]
    pub tcp_logs: Option<TcpLogs>,
}

/// The sender.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Identifier {
    /// Its process.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// Its log.
    #[prost(string, tag = "2")]
    pub log_name: String,
}

/// A process.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Node {
    /// Its name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The gateway that it is one of.
    #[prost(string, tag = "2")]
    pub cluster: String,
}

/// Entries of requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpLogs {
    /// The entries.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<HttpLog>,
}

/// Entries of connections.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TcpLogs {
    /// The entries.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<TcpLog>,
}

/// An entry of a request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpLog {
    /// Facts of all entries.
    #[prost(message, optional, tag = "1")]
    pub common: Option<Common>,
    /// 2: HTTP/1.1.
    #[prost(int32, tag = "2")]
    pub version: i32,
    /// The request.
    #[prost(message, optional, tag = "3")]
    pub request: Option<LoggedRequest>,
    /// The response.
    #[prost(message, optional, tag = "4")]
    pub response: Option<LoggedResponse>,
}

/// An entry of a connection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TcpLog {
    /// Facts of all entries.
    #[prost(message, optional, tag = "1")]
    pub common: Option<Common>,
}

/// Facts of all entries.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Common {
    /// The endpoint's cluster.
    #[prost(string, tag = "15")]
    pub upstream_cluster: String,
    /// The route.
    #[prost(string, tag = "19")]
    pub route_name: String,
    /// Attempts.
    #[prost(uint32, tag = "24")]
    pub attempts: u32,
}

/// A request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoggedRequest {
    /// 1: GET. 3: POST.
    #[prost(int32, tag = "1")]
    pub method: i32,
    /// The host.
    #[prost(string, tag = "3")]
    pub authority: String,
    /// The path.
    #[prost(string, tag = "5")]
    pub path: String,
    /// `User-Agent`.
    #[prost(string, tag = "6")]
    pub user_agent: String,
    /// `Referer`.
    #[prost(string, tag = "7")]
    pub referer: String,
    /// Further headers.
    #[prost(btree_map = "string, string", tag = "13")]
    pub headers: BTreeMap<String, String>,
}

/// A response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoggedResponse {
    /// The status.
    #[prost(message, optional, tag = "1")]
    pub code: Option<u32>,
    /// Headers.
    #[prost(btree_map = "string, string", tag = "4")]
    pub headers: BTreeMap<String, String>,
    /// Origin of the response.
    #[prost(string, tag = "6")]
    pub details: String,
}

/// Takes the next message of a stream off what has come.
pub(super) fn next_message(left: &mut Vec<u8>) -> Option<Bytes> {
    let length = u32::from_be_bytes(left.get(1..5)?.try_into().expect("four bytes")) as usize;
    assert_eq!(left[0], 0, "the message is not compressed");
    if left.len() < 5 + length {
        return None;
    }
    let rest = left.split_off(5 + length);
    Some(Bytes::from(std::mem::replace(left, rest)).slice(5..))
}
