//! Values of command operators.

use std::{
    borrow::Cow,
    collections::HashMap,
    ffi::OsString,
    fmt::Write as _,
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use http::HeaderValue;
use jiff::Timestamp;
use pailou_auth::query_values;
use pailou_snapshot::{
    Address, AddressPart, GrpcStatusForm, HttpFilter, LogMetadata, LogOperator, TimeFormat, TimePart, is_secret_value,
    without_query,
};

use super::{facts::Facts, flags};
use crate::{error::Flag, request_notes::RequestNotes, request_record::RequestRecord};

/// Written in place of a credential.
const REDACTED: &str = "REDACTED";

static HOSTNAME: LazyLock<String> = LazyLock::new(|| {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(read.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "-".to_owned())
});

/// Variables of the process, which nothing changes after its start.
static ENVIRONMENT: LazyLock<HashMap<String, String>> = LazyLock::new(|| environment(std::env::vars_os()));

/// Names of statuses of gRPC, in the case of constants.
pub(crate) const GRPC_STATUSES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("CANCELLED", "Canceled"),
    ("UNKNOWN", "Unknown"),
    ("INVALID_ARGUMENT", "InvalidArgument"),
    ("DEADLINE_EXCEEDED", "DeadlineExceeded"),
    ("NOT_FOUND", "NotFound"),
    ("ALREADY_EXISTS", "AlreadyExists"),
    ("PERMISSION_DENIED", "PermissionDenied"),
    ("RESOURCE_EXHAUSTED", "ResourceExhausted"),
    ("FAILED_PRECONDITION", "FailedPrecondition"),
    ("ABORTED", "Aborted"),
    ("OUT_OF_RANGE", "OutOfRange"),
    ("UNIMPLEMENTED", "Unimplemented"),
    ("INTERNAL", "Internal"),
    ("UNAVAILABLE", "Unavailable"),
    ("DATA_LOSS", "DataLoss"),
    ("UNAUTHENTICATED", "Unauthenticated"),
];

/// The value of an operator.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Number(u64),
    /// An amount.
    Amount(f64),
}

impl<'a> Value<'a> {
    fn owned(text: String) -> Option<Self> {
        Some(Self::Text(Cow::Owned(text)))
    }

    fn borrowed(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

/// The value of an operator; `None` where the event has none.
pub(super) fn value<'a>(operator: &'a LogOperator, facts: &Facts<'a>) -> Option<Value<'a>> {
    if let Some((record, notes)) = facts.request
        && let Some(found) = of_request(operator, record, notes)
    {
        return found;
    }
    let text = |text: Option<&'a str>| text.map(Value::borrowed);
    match operator {
        LogOperator::StartTime(format) => Value::owned(time(format, facts.time)),
        LogOperator::EmitTime(format) => Value::owned(time(format, SystemTime::now())),
        LogOperator::First(both) => value(&both[0], facts).or_else(|| value(&both[1], facts)),
        LogOperator::Protocol => text(facts.protocol),
        LogOperator::ResponseCode => facts.status.map(|status| Value::Number(status.into())).or(Some(Value::Number(0))),
        LogOperator::ResponseCodeDetails => facts.code_details().and_then(Value::owned),
        LogOperator::ResponseFlags => text(Some(facts.flag.map_or("-", Flag::code))),
        LogOperator::ResponseFlagsLong => text(Some(facts.flag.map_or("-", flags::long_name))),
        LogOperator::BytesReceived => facts.received.map(Value::Number),
        LogOperator::BytesSent => facts.sent.map(Value::Number),
        LogOperator::Duration => Some(milliseconds(facts.duration)),
        LogOperator::ResponseDuration => facts.head_after.map(milliseconds),
        LogOperator::ResponseTxDuration => facts.head_after.map(|head| milliseconds(facts.duration.saturating_sub(head))),
        LogOperator::Attempts => facts.attempts.map(|count| Value::Number(count.into())),
        LogOperator::UpstreamServiceTime => {
            let head = facts.head_after.filter(|_| facts.is_of_backend);
            head.and_then(|head| Value::owned(head.as_millis().to_string()))
        }
        LogOperator::Upstream(part) => upstream(*part, facts),
        LogOperator::UpstreamName => text(facts.endpoint_name),
        LogOperator::UpstreamCluster => facts.cluster.and_then(|cluster| Value::owned(cluster.key().endpoints.to_string())),
        LogOperator::TransportFailure => text(facts.detail.filter(|_| facts.flag == Some(Flag::ConnectFailure))),
        LogOperator::TerminationDetails => {
            let is_of_connection = facts.request.is_none() || facts.flag == Some(Flag::ClientGone);
            text(facts.detail.filter(|_| is_of_connection))
        }
        LogOperator::Client(part) => address(facts.client, *part),
        LogOperator::Peer(part) => address(facts.peer, *part),
        LogOperator::Local(part) => facts.local.and_then(|local| address(local, *part)),
        LogOperator::ServerName => text(facts.server_name),
        LogOperator::RouteName => facts.route.and_then(|route| Value::owned(route.to_string())),
        LogOperator::Hostname => text(Some(HOSTNAME.as_str())),
        LogOperator::Environment(name) => text(ENVIRONMENT.get(&**name).map(String::as_str)),
        LogOperator::LogType => text(Some(facts.kind)),
        LogOperator::Metadata(LogMetadata::Endpoint) => text(facts.endpoint_name),
        LogOperator::Metadata(LogMetadata::Listener) => facts.listener.and_then(|listener| Value::owned(listener.to_string())),
        // Events without a request have none of the rest.
        _ => None,
    }
}

/// The value of an operator that only requests have; `None` for other operators.
fn of_request<'a>(operator: &'a LogOperator, record: &'a RequestRecord, notes: &'a RequestNotes) -> Option<Option<Value<'a>>> {
    let text = |text: &'a str| Some(Value::borrowed(text));
    Some(match operator {
        LogOperator::Method => text(record.method.as_str()),
        LogOperator::Path => text(&record.path),
        LogOperator::Authority => Some(&*notes.authority).filter(|authority| !authority.is_empty()).map(Value::borrowed),
        LogOperator::Scheme => text(notes.origin.scheme),
        LogOperator::RequestId => record.request_id().map(Value::borrowed),
        LogOperator::Model => record.model.as_deref().map(Value::borrowed),
        LogOperator::RequestHeader(place) => header(notes.request_header(*place), record, || notes.request_name(*place)),
        LogOperator::RequestUrl(place) => match header(notes.request_header(*place), record, || notes.request_name(*place)) {
            Some(Value::Text(url)) => Value::owned(String::from_utf8_lossy(without_query(url.as_bytes())).into_owned()),
            other => other,
        },
        LogOperator::ForwardedFor(place) => forwarded_for(notes.request_header(*place), record, notes),
        LogOperator::ResponseHeader(place) => notes.response_header(*place).map(shown),
        LogOperator::Trailer(place) => notes.trailer(*place).map(shown),
        LogOperator::QueryParameter(name) => parameter(name, record, notes),
        LogOperator::GrpcStatus(form) => notes.grpc_status.and_then(|status| grpc_status(status, *form)),
        LogOperator::TraceId => record.trace.as_ref().and_then(|trace| Value::owned(trace.trace_id.to_string())),
        LogOperator::SpanId => record.trace.as_ref().and_then(|trace| Value::owned(trace.span_id.to_string())),
        LogOperator::Metadata(fact) if !matches!(fact, LogMetadata::Endpoint | LogMetadata::Listener) => metadata(*fact, record),
        _ => return None,
    })
}

fn metadata(fact: LogMetadata, record: &RequestRecord) -> Option<Value<'_>> {
    let tokens = record.counted_tokens();
    let count = |count: fn(&pailou_limits::Tokens) -> u64| tokens.as_ref().map(|tokens| Value::Number(count(tokens)));
    match fact {
        LogMetadata::InputTokens => count(|tokens| tokens.input),
        LogMetadata::CachedInputTokens => count(|tokens| tokens.cached_input),
        LogMetadata::CacheCreationInputTokens => count(|tokens| tokens.cache_creation_input),
        LogMetadata::OutputTokens => count(|tokens| tokens.output),
        LogMetadata::ReasoningTokens => count(|tokens| tokens.reasoning),
        LogMetadata::TotalTokens => count(|tokens| tokens.total),
        LogMetadata::CostUsd => record.nano_usd.map(|nano| Value::Amount(nano as f64 / 1e9)),
        LogMetadata::Model => record.model.as_deref().map(Value::borrowed),
        LogMetadata::TargetModel => record.sent_model().map(Value::borrowed),
        LogMetadata::PrefillEndpoint => record.prefill_endpoint.as_deref().map(Value::borrowed),
        LogMetadata::QueueMs => record.queued_for.map(milliseconds),
        LogMetadata::TtftMs => record.first_content().map(milliseconds),
        LogMetadata::Endpoint | LogMetadata::Listener => None,
    }
}

/// A header of the request, unless the rule's policies take credentials from it.
fn header<'a>(value: Option<&'a HeaderValue>, record: &RequestRecord, name: impl Fn() -> Option<&'a str>) -> Option<Value<'a>> {
    let value = value?;
    let is_source = name().is_some_and(|name| is_credential_source(record, |source| source.header() == Some(name)));
    Some(if is_source { Value::borrowed(REDACTED) } else { shown(value) })
}

fn parameter<'a>(name: &str, record: &RequestRecord, notes: &'a RequestNotes) -> Option<Value<'a>> {
    let value = query_values(notes.query()?, name).next()?;
    if is_credential_source(record, |source| source.parameter() == Some(name)) || is_secret_value(&value) {
        return Some(Value::borrowed(REDACTED));
    }
    Value::owned(String::from_utf8_lossy(&value).into_owned())
}

/// Whether a policy of the request's rule takes credentials from a part of requests.
fn is_credential_source(record: &RequestRecord, is_meant: impl Fn(&pailou_auth::CredentialSource) -> bool) -> bool {
    let Some(rule) = &record.rule else { return false };
    rule.filters.http.iter().any(|filter| match filter {
        HttpFilter::ApiKeyAuth(keys) => keys.sources.iter().any(&is_meant),
        HttpFilter::Jwt(jwt) => jwt.providers.iter().flat_map(|provider| &provider.sources).any(&is_meant),
        _ => false,
    })
}

/// The client's `X-Forwarded-For` with the gateway's own entry.
fn forwarded_for<'a>(value: Option<&'a HeaderValue>, record: &RequestRecord, notes: &RequestNotes) -> Option<Value<'a>> {
    if !notes.appends_forwarded_for {
        return value.map(shown);
    }
    let peer = record.peer.ip().to_canonical();
    Value::owned(match value {
        Some(value) => format!("{},{peer}", String::from_utf8_lossy(value.as_bytes())),
        None => peer.to_string(),
    })
}

/// Variables that are text, without credentials, and without queries of URLs.
fn environment(all: impl Iterator<Item = (OsString, OsString)>) -> HashMap<String, String> {
    let all = all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let shown = |value: String| match value.contains("://") {
        _ if is_secret_value(value.as_bytes()) => REDACTED.to_owned(),
        true => String::from_utf8_lossy(without_query(value.as_bytes())).into_owned(),
        false => value,
    };
    all.map(|(name, value)| (name, shown(value))).collect()
}

/// The value of a header, which need not be text.
fn shown(value: &HeaderValue) -> Value<'_> {
    Value::Text(String::from_utf8_lossy(value.as_bytes()))
}

fn grpc_status<'a>(status: u8, form: GrpcStatusForm) -> Option<Value<'a>> {
    let names = GRPC_STATUSES.get(usize::from(status));
    match (form, names) {
        (GrpcStatusForm::Number, _) | (_, None) => Some(Value::Number(status.into())),
        (GrpcStatusForm::Snake, Some((snake, _))) => Some(Value::borrowed(snake)),
        (GrpcStatusForm::Camel, Some((_, camel))) => Some(Value::borrowed(camel)),
    }
}

fn upstream<'a>(part: AddressPart, facts: &Facts<'a>) -> Option<Value<'a>> {
    match facts.upstream? {
        Address::Socket(socket) => address(*socket, part),
        Address::Dns { host, port } => match part {
            AddressPart::Whole => Value::owned(format!("{host}:{port}")),
            AddressPart::Ip => Some(Value::borrowed(host)),
            AddressPart::Port => Some(Value::Number((*port).into())),
        },
        Address::Unix(path) => match part {
            AddressPart::Whole | AddressPart::Ip => Value::owned(path.display().to_string()),
            AddressPart::Port => None,
        },
    }
}

fn address<'a>(socket: SocketAddr, part: AddressPart) -> Option<Value<'a>> {
    match part {
        AddressPart::Whole => Value::owned(SocketAddr::new(socket.ip().to_canonical(), socket.port()).to_string()),
        AddressPart::Ip => Value::owned(socket.ip().to_canonical().to_string()),
        AddressPart::Port => Some(Value::Number(socket.port().into())),
    }
}

fn milliseconds<'a>(duration: Duration) -> Value<'a> {
    Value::Number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn time(format: &TimeFormat, time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    let TimeFormat::Parts(parts) = format else { return format!("{time:.3}") };
    let mut out = String::new();
    for part in parts {
        // The compiler has tried each form, and writing to a string does not fail.
        let _ = match part {
            TimePart::Strftime(form) => write!(out, "{}", time.strftime(&**form)),
            TimePart::UnixSeconds => write!(out, "{}", time.as_second()),
            TimePart::Fraction(digits) => {
                let nanos = format!("{:09}", time.subsec_nanosecond().unsigned_abs());
                out.push_str(&nanos[..usize::from(*digits).min(nanos.len())]);
                Ok(())
            }
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_by_their_parts() {
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 12_345_678);
        let parts = vec![
            TimePart::Strftime("%Y/%m/%dT%H:%M:%S%z ".into()),
            TimePart::UnixSeconds,
            TimePart::Strftime(".".into()),
            TimePart::Fraction(3),
        ];
        assert_eq!(time(&TimeFormat::Parts(parts), at), "2023/11/14T22:13:20+0000 1700000000.012");
        assert_eq!(time(&TimeFormat::Rfc3339, at), "2023-11-14T22:13:20.012Z");
    }

    #[test]
    fn variables_have_no_credentials() {
        let all = [("DB_URL", "postgres://u:pw@db/main"), ("CACHE", "redis://db/0?password=pw"), ("ZONE", "a?b")];
        let found = environment(all.into_iter().map(|(name, value)| (name.into(), value.into())));
        let found = |name: &str| found[name].as_str();
        assert_eq!([found("DB_URL"), found("CACHE"), found("ZONE")], ["REDACTED", "redis://db/0", "a?b"]);
    }

    #[test]
    fn statuses_of_grpc_have_names() {
        let shown = |status, form| grpc_status(status, form).unwrap();
        assert_eq!(shown(5, GrpcStatusForm::Camel), Value::borrowed("NotFound"));
        assert_eq!(shown(5, GrpcStatusForm::Snake), Value::borrowed("NOT_FOUND"));
        assert_eq!(shown(5, GrpcStatusForm::Number), Value::Number(5));
        assert_eq!(shown(99, GrpcStatusForm::Camel), Value::Number(99));
    }
}
