//! Envoy's access log service: `envoy.service.accesslog.v3` and `envoy.data.accesslog.v3`.

use std::collections::HashMap;

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
pub use prost_types::{Duration, Timestamp};

use crate::core::Address;

/// The service's method, by which a client streams entries.
pub const STREAM_PATH: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// Kind of the entries of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Requests.
    Http,
    /// Connections.
    Tcp,
}

/// Sender of a stream, which its first message names.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Identifier {
    /// The gateway.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// The log's name.
    #[prost(string, tag = "2")]
    pub log_name: String,
}

/// `envoy.config.core.v3.Node`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Node {
    /// The process.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The gateway that it is one of.
    #[prost(string, tag = "2")]
    pub cluster: String,
}

/// A message of a stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamAccessLogsMessage {
    /// The sender.
    #[prost(message, optional, tag = "1")]
    pub identifier: Option<Identifier>,
    /// Requests.
    #[prost(message, optional, tag = "2")]
    pub http_logs: Option<HttpEntries>,
    /// Connections.
    #[prost(message, optional, tag = "3")]
    pub tcp_logs: Option<TcpEntries>,
}

/// Requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpEntries {
    /// The entries.
    #[prost(message, repeated, tag = "1")]
    pub log_entry: Vec<HttpEntry>,
}

/// Connections.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TcpEntries {
    /// The entries.
    #[prost(message, repeated, tag = "1")]
    pub log_entry: Vec<TcpEntry>,
}

/// A request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpEntry {
    /// Properties of all entries.
    #[prost(message, optional, tag = "1")]
    pub common_properties: Option<Common>,
    /// Version of HTTP: 1 is 1.0, 2 is 1.1, 3 is 2.
    #[prost(int32, tag = "2")]
    pub protocol_version: i32,
    /// The request.
    #[prost(message, optional, tag = "3")]
    pub request: Option<RequestProperties>,
    /// The response.
    #[prost(message, optional, tag = "4")]
    pub response: Option<ResponseProperties>,
}

/// A connection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TcpEntry {
    /// Properties of all entries.
    #[prost(message, optional, tag = "1")]
    pub common_properties: Option<Common>,
    /// The connection.
    #[prost(message, optional, tag = "2")]
    pub connection_properties: Option<ConnectionProperties>,
}

/// Bytes of a connection.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ConnectionProperties {
    /// From the client.
    #[prost(uint64, tag = "1")]
    pub received_bytes: u64,
    /// To the client.
    #[prost(uint64, tag = "2")]
    pub sent_bytes: u64,
}

/// Properties of all entries: `AccessLogCommon`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Common {
    /// The client.
    #[prost(message, optional, tag = "2")]
    pub downstream_remote_address: Option<Address>,
    /// The address that the client connected to.
    #[prost(message, optional, tag = "3")]
    pub downstream_local_address: Option<Address>,
    /// Facts of the client's TLS.
    #[prost(message, optional, tag = "4")]
    pub tls_properties: Option<TlsProperties>,
    /// When the request came.
    #[prost(message, optional, tag = "5")]
    pub start_time: Option<Timestamp>,
    /// From then to the head of the backend's response.
    #[prost(message, optional, tag = "9")]
    pub time_to_first_upstream_rx_byte: Option<Duration>,
    /// From then to the end of the response.
    #[prost(message, optional, tag = "12")]
    pub time_to_last_downstream_tx_byte: Option<Duration>,
    /// The endpoint.
    #[prost(message, optional, tag = "13")]
    pub upstream_remote_address: Option<Address>,
    /// The endpoint's cluster.
    #[prost(string, tag = "15")]
    pub upstream_cluster: String,
    /// Why the response is not the backend's.
    #[prost(message, optional, tag = "16")]
    pub response_flags: Option<ResponseFlags>,
    /// Why there is no connection to the backend.
    #[prost(string, tag = "18")]
    pub upstream_transport_failure_reason: String,
    /// The route's name.
    #[prost(string, tag = "19")]
    pub route_name: String,
    /// The connection's other end.
    #[prost(message, optional, tag = "20")]
    pub downstream_direct_remote_address: Option<Address>,
    /// Further facts.
    #[prost(map = "string, string", tag = "22")]
    pub custom_tags: HashMap<String, String>,
    /// From the request's head to the response's end.
    #[prost(message, optional, tag = "23")]
    pub duration: Option<Duration>,
    /// Attempts at backends.
    #[prost(uint32, tag = "24")]
    pub upstream_request_attempt_count: u32,
    /// Why the connection ended.
    #[prost(string, tag = "25")]
    pub connection_termination_details: String,
}

/// Facts of a client's TLS.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TlsProperties {
    /// The server name asked for.
    #[prost(string, tag = "3")]
    pub tls_sni_hostname: String,
}

/// Why a response is not the backend's.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ResponseFlags {
    /// `UH`.
    #[prost(bool, tag = "2")]
    pub no_healthy_upstream: bool,
    /// `UT`.
    #[prost(bool, tag = "3")]
    pub upstream_request_timeout: bool,
    /// `UF`.
    #[prost(bool, tag = "6")]
    pub upstream_connection_failure: bool,
    /// `UC`.
    #[prost(bool, tag = "7")]
    pub upstream_connection_termination: bool,
    /// `UO`.
    #[prost(bool, tag = "8")]
    pub upstream_overflow: bool,
    /// `NR`.
    #[prost(bool, tag = "9")]
    pub no_route_found: bool,
    /// `FI`.
    #[prost(bool, tag = "11")]
    pub fault_injected: bool,
    /// `RL`.
    #[prost(bool, tag = "12")]
    pub rate_limited: bool,
    /// `UAEX`.
    #[prost(message, optional, tag = "13")]
    pub unauthorized_details: Option<Unauthorized>,
    /// `RLSE`.
    #[prost(bool, tag = "14")]
    pub rate_limit_service_error: bool,
    /// `DC`.
    #[prost(bool, tag = "15")]
    pub downstream_connection_termination: bool,
    /// `SI`.
    #[prost(bool, tag = "17")]
    pub stream_idle_timeout: bool,
    /// `DPE`.
    #[prost(bool, tag = "19")]
    pub downstream_protocol_error: bool,
    /// `UPE`.
    #[prost(bool, tag = "24")]
    pub upstream_protocol_error: bool,
    /// `NC`.
    #[prost(bool, tag = "25")]
    pub no_cluster_found: bool,
    /// `OM`.
    #[prost(bool, tag = "26")]
    pub overload_manager: bool,
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Unauthorized {
    /// 1: by an external service.
    #[prost(int32, tag = "1")]
    pub reason: i32,
}

/// A request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestProperties {
    /// `envoy.config.core.v3.RequestMethod`.
    #[prost(int32, tag = "1")]
    pub request_method: i32,
    /// The scheme.
    #[prost(string, tag = "2")]
    pub scheme: String,
    /// The host asked for.
    #[prost(string, tag = "3")]
    pub authority: String,
    /// The path.
    #[prost(string, tag = "5")]
    pub path: String,
    /// `User-Agent`.
    #[prost(string, tag = "6")]
    pub user_agent: String,
    /// `Referer`, without its query.
    #[prost(string, tag = "7")]
    pub referer: String,
    /// `X-Forwarded-For`.
    #[prost(string, tag = "8")]
    pub forwarded_for: String,
    /// `X-Request-Id`.
    #[prost(string, tag = "9")]
    pub request_id: String,
    /// Bytes of the body.
    #[prost(uint64, tag = "12")]
    pub request_body_bytes: u64,
    /// Further headers.
    #[prost(map = "string, string", tag = "13")]
    pub request_headers: HashMap<String, String>,
}

/// A response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseProperties {
    /// The status.
    #[prost(message, optional, tag = "1")]
    pub response_code: Option<u32>,
    /// Bytes of the body.
    #[prost(uint64, tag = "3")]
    pub response_body_bytes: u64,
    /// Headers.
    #[prost(map = "string, string", tag = "4")]
    pub response_headers: HashMap<String, String>,
    /// Trailers.
    #[prost(map = "string, string", tag = "5")]
    pub response_trailers: HashMap<String, String>,
    /// Origin of the response.
    #[prost(string, tag = "6")]
    pub response_code_details: String,
}

/// Number of the list of entries in [`HttpEntries`] and in [`TcpEntries`].
const LOG_ENTRY: u32 = 1;

/// Appends an entry to a buffer of them.
pub fn append_entry(entries: &mut Vec<u8>, entry: &impl Message) {
    encode_key(LOG_ENTRY, WireType::LengthDelimited, entries);
    // There is no end to the room of a buffer.
    let _ = entry.encode_length_delimited(entries);
}

/// Appends the message of a stream up to its entries, which follow: so many bytes, as [`append_entry`] has written them. The first message has the
/// identifier, later ones have none.
pub fn append_head(out: &mut Vec<u8>, identifier: Option<&Identifier>, kind: EntryKind, entries_length: usize) {
    StreamAccessLogsMessage { identifier: identifier.cloned(), http_logs: None, tcp_logs: None }.encode_raw(out);
    let field = match kind {
        EntryKind::Http => 2,
        EntryKind::Tcp => 3,
    };
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(entries_length as u64, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_entries_reads_as_it_was_written() {
        let entry = |path: &str| HttpEntry {
            request: Some(RequestProperties { path: path.to_owned(), ..RequestProperties::default() }),
            ..HttpEntry::default()
        };
        let identifier = Identifier { node: None, log_name: "edge".to_owned() };
        let (mut entries, mut out) = (Vec::new(), Vec::new());
        append_entry(&mut entries, &entry("/a"));
        append_entry(&mut entries, &entry(&"b".repeat(300)));
        append_head(&mut out, Some(&identifier), EntryKind::Http, entries.len());
        out.extend_from_slice(&entries);
        let http_logs = Some(HttpEntries { log_entry: vec![entry("/a"), entry(&"b".repeat(300))] });
        let expected = StreamAccessLogsMessage { identifier: Some(identifier), http_logs, tcp_logs: None };
        assert_eq!(StreamAccessLogsMessage::decode(&out[..]), Ok(expected));
    }
}
