//! An entry for Envoy's access log service.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, Method, Version};
use pailou_envoy_proto::{
    access_log::{
        self, Common, ConnectionProperties, HttpEntry, RequestProperties, ResponseFlags, ResponseProperties, TcpEntry,
        TlsProperties, Unauthorized, append_entry,
    },
    core::{self, SocketAddress},
};
use pailou_snapshot::{Address, HeaderPlace, LogOperator, ServiceHeaders};

use super::{
    facts::Facts,
    operator::{Value, value},
};
use crate::{error::Flag, request_notes::RequestNotes};

/// Longest header, and longest path, in bytes: an entry has up to 195 of them.
const MAX_HEADER: usize = 1024;
const MAX_PATH: usize = 4096;

/// Appends the entry of an event.
pub(super) fn append(out: &mut Vec<u8>, is_tcp: bool, headers: &ServiceHeaders, facts: &Facts<'_>) {
    if is_tcp {
        let bytes =
            ConnectionProperties { received_bytes: facts.received.unwrap_or_default(), sent_bytes: facts.sent.unwrap_or_default() };
        append_entry(out, &TcpEntry { common_properties: Some(common(facts)), connection_properties: Some(bytes) });
        return;
    }
    append_entry(
        out,
        &HttpEntry {
            common_properties: Some(common(facts)),
            protocol_version: facts.request.map_or(0, |(record, _)| version(record.version)),
            request: facts.request.is_some().then(|| request(headers, facts)),
            response: Some(response(headers, facts)),
        },
    );
}

fn common(facts: &Facts<'_>) -> Common {
    let text = |operator: &LogOperator| match value(operator, facts) {
        Some(Value::Text(text)) => text.into_owned(),
        _ => String::new(),
    };
    let endpoint = facts.upstream.and_then(|endpoint| match endpoint {
        Address::Socket(socket) => Some(address(*socket)),
        Address::Dns { host, port } => Some(of_name(host, *port)),
        Address::Unix(_) => None,
    });
    Common {
        downstream_remote_address: Some(address(facts.client)),
        downstream_local_address: facts.local.map(address),
        tls_properties: facts.server_name.map(|name| TlsProperties { tls_sni_hostname: name.to_owned() }),
        start_time: since_epoch(facts.time),
        time_to_first_upstream_rx_byte: facts.head_after.filter(|_| facts.is_of_backend).and_then(duration),
        time_to_last_downstream_tx_byte: duration(facts.duration),
        upstream_remote_address: endpoint,
        upstream_cluster: text(&LogOperator::UpstreamCluster),
        response_flags: Some(flags(facts.flag)),
        upstream_transport_failure_reason: text(&LogOperator::TransportFailure),
        route_name: text(&LogOperator::RouteName),
        downstream_direct_remote_address: Some(address(facts.peer)),
        custom_tags: tags(facts),
        duration: duration(facts.duration),
        upstream_request_attempt_count: facts.attempts.unwrap_or_default(),
        connection_termination_details: text(&LogOperator::TerminationDetails),
    }
}

/// Facts that the messages have no fields for.
fn tags(facts: &Facts<'_>) -> HashMap<String, String> {
    let mut tags = HashMap::new();
    if let Some(flag) = facts.flag {
        tags.insert("pailou.flag".to_owned(), flag.code().to_owned());
    }
    let Some((record, _)) = facts.request else { return tags };
    let texts = [("gen_ai.request.model", record.model.as_deref()), ("pailou.endpoint", facts.endpoint_name)];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text?.to_owned())));
    let tokens = record.counted_tokens();
    let tokens = tokens.iter().flat_map(|tokens| {
        [("gen_ai.usage.input_tokens", tokens.input.to_string()), ("gen_ai.usage.output_tokens", tokens.output.to_string())]
    });
    tags.extend(texts.chain(tokens).map(|(name, text)| (name.to_owned(), text)));
    tags
}

fn request(headers: &ServiceHeaders, facts: &Facts<'_>) -> RequestProperties {
    let Some((record, notes)) = facts.request else { return RequestProperties::default() };
    let text = |operator: LogOperator| match value(&operator, facts) {
        Some(Value::Text(text)) => cut(&text, MAX_HEADER),
        _ => String::new(),
    };
    let place =
        |place: Option<HeaderPlace>, operator: fn(HeaderPlace) -> LogOperator| place.map(operator).map(text).unwrap_or_default();
    RequestProperties {
        request_method: method(&record.method),
        scheme: notes.origin.scheme.to_owned(),
        authority: cut(&notes.authority, MAX_HEADER),
        path: cut(&record.path, MAX_PATH),
        user_agent: place(headers.user_agent, LogOperator::RequestHeader),
        referer: place(headers.referer, LogOperator::RequestHeader),
        forwarded_for: place(headers.forwarded_for, LogOperator::ForwardedFor),
        request_id: cut(record.request_id().unwrap_or_default(), MAX_HEADER),
        request_body_bytes: record.request_bytes,
        request_headers: headers
            .request
            .iter()
            .filter_map(|place| match value(&LogOperator::RequestHeader(*place), facts)? {
                Value::Text(text) => Some((notes.request_name(*place)?.to_owned(), cut(&text, MAX_HEADER))),
                Value::Number(_) | Value::Amount(_) => None,
            })
            .collect(),
    }
}

fn response(headers: &ServiceHeaders, facts: &Facts<'_>) -> ResponseProperties {
    let notes = facts.request.map(|(_, notes)| notes);
    let map = |places: &[HeaderPlace], find: fn(&RequestNotes, HeaderPlace) -> Option<(&HeaderName, &HeaderValue)>| {
        let found = places.iter().filter_map(|place| find(notes?, *place));
        found.map(|(name, value)| (name.as_str().to_owned(), cut(&String::from_utf8_lossy(value.as_bytes()), MAX_HEADER))).collect()
    };
    ResponseProperties {
        response_code: facts.status.map(u32::from),
        response_body_bytes: facts.sent.unwrap_or_default(),
        response_headers: map(&headers.response, RequestNotes::named_response_header),
        response_trailers: map(&headers.trailers, RequestNotes::named_trailer),
        response_code_details: facts.code_details().unwrap_or_default(),
    }
}

fn cut(text: &str, length: usize) -> String {
    text[..text.floor_char_boundary(length)].to_owned()
}

fn flags(flag: Option<Flag>) -> ResponseFlags {
    let is = |known| flag == Some(known);
    ResponseFlags {
        no_healthy_upstream: is(Flag::NoEndpoint),
        upstream_request_timeout: is(Flag::Timeout),
        upstream_connection_failure: is(Flag::ConnectFailure),
        upstream_connection_termination: is(Flag::UpstreamReset),
        upstream_overflow: is(Flag::Overflow),
        no_route_found: is(Flag::NoRoute),
        fault_injected: is(Flag::Fault),
        rate_limited: is(Flag::RateLimited),
        unauthorized_details: is(Flag::Forbidden).then_some(Unauthorized { reason: 1 }),
        rate_limit_service_error: is(Flag::RateLimitStore),
        downstream_connection_termination: is(Flag::ClientGone),
        stream_idle_timeout: is(Flag::StreamIdle),
        downstream_protocol_error: is(Flag::BadRequest),
        upstream_protocol_error: is(Flag::UpstreamProtocol),
        no_cluster_found: is(Flag::Misconfigured),
        overload_manager: is(Flag::Budget),
    }
}

fn address(socket: SocketAddr) -> core::Address {
    of_name(&socket.ip().to_canonical().to_string(), socket.port())
}

fn of_name(host: &str, port: u16) -> core::Address {
    core::Address { socket_address: Some(SocketAddress { address: host.to_owned(), port_value: port.into() }) }
}

fn since_epoch(time: SystemTime) -> Option<access_log::Timestamp> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(access_log::Timestamp { seconds: i64::try_from(since.as_secs()).ok()?, nanos: i32::try_from(since.subsec_nanos()).ok()? })
}

fn duration(duration: Duration) -> Option<access_log::Duration> {
    access_log::Duration::try_from(duration).ok()
}

fn version(version: Version) -> i32 {
    match version {
        Version::HTTP_10 => 1,
        Version::HTTP_11 => 2,
        Version::HTTP_2 => 3,
        _ => 0,
    }
}

/// `envoy.config.core.v3.RequestMethod`.
fn method(method: &Method) -> i32 {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    known.iter().position(|known| *known == method.as_str()).and_then(|place| i32::try_from(place + 1).ok()).unwrap_or(0)
}
