//! Envoy's command operators in access logs: `%NAME%`, `%NAME(argument):length%`.
//!
//! Source: Envoy's documentation, "Access Logging", command operators.

use http::HeaderName;
use pailou_snapshot::{AddressPart, Captured, GrpcStatusForm, LogMetadata, LogOperator, is_secret_name};

use super::time_format::time_format;

/// An operator as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written<'t> {
    name: &'t str,
    argument: Option<&'t str>,
    /// Most bytes of its value.
    pub(super) length: Option<usize>,
}

/// Operators without an argument.
const PLAIN: [(&str, LogOperator); 56] = {
    use AddressPart::{Ip, Port, Whole};
    use LogOperator as O;
    [
        ("PROTOCOL", O::Protocol),
        ("RESPONSE_CODE", O::ResponseCode),
        ("RESPONSE_CODE_DETAILS", O::ResponseCodeDetails),
        ("RESPONSE_FLAGS", O::ResponseFlags),
        ("RESPONSE_FLAGS_LONG", O::ResponseFlagsLong),
        ("GRPC_STATUS", O::GrpcStatus(GrpcStatusForm::Camel)),
        ("GRPC_STATUS_NUMBER", O::GrpcStatus(GrpcStatusForm::Number)),
        ("BYTES_RECEIVED", O::BytesReceived),
        ("BYTES_SENT", O::BytesSent),
        ("DURATION", O::Duration),
        ("RESPONSE_DURATION", O::ResponseDuration),
        ("RESPONSE_TX_DURATION", O::ResponseTxDuration),
        ("UPSTREAM_REQUEST_ATTEMPT_COUNT", O::Attempts),
        ("UPSTREAM_HOST", O::Upstream(Whole)),
        ("UPSTREAM_HOST_NAME", O::UpstreamName),
        ("UPSTREAM_HOST_NAME_WITHOUT_PORT", O::UpstreamName),
        ("UPSTREAM_REMOTE_ADDRESS", O::Upstream(Whole)),
        ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", O::Upstream(Ip)),
        ("UPSTREAM_REMOTE_PORT", O::Upstream(Port)),
        ("UPSTREAM_CLUSTER", O::UpstreamCluster),
        ("UPSTREAM_CLUSTER_RAW", O::UpstreamCluster),
        ("UPSTREAM_TRANSPORT_FAILURE_REASON", O::TransportFailure),
        ("CONNECTION_TERMINATION_DETAILS", O::TerminationDetails),
        ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", O::TerminationDetails),
        ("DOWNSTREAM_REMOTE_ADDRESS", O::Client(Whole)),
        ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", O::Client(Ip)),
        ("DOWNSTREAM_REMOTE_PORT", O::Client(Port)),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", O::Peer(Whole)),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", O::Peer(Ip)),
        ("DOWNSTREAM_DIRECT_REMOTE_PORT", O::Peer(Port)),
        ("DOWNSTREAM_LOCAL_ADDRESS", O::Local(Whole)),
        ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", O::Local(Ip)),
        ("DOWNSTREAM_LOCAL_PORT", O::Local(Port)),
        ("REQUESTED_SERVER_NAME", O::ServerName),
        ("ROUTE_NAME", O::RouteName),
        ("TRACE_ID", O::TraceId),
        ("SPAN_ID", O::SpanId),
        ("HOSTNAME", O::Hostname),
        ("ACCESS_LOG_TYPE", O::LogType),
        ("STREAM_ID", O::RequestId),
        // Facts that the gateway does not know, and that common formats name.
        ("UPSTREAM_LOCAL_ADDRESS", O::Unknown),
        ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", O::Unknown),
        ("UPSTREAM_LOCAL_PORT", O::Unknown),
        ("UPSTREAM_PROTOCOL", O::Unknown),
        ("UPSTREAM_TLS_VERSION", O::Unknown),
        ("UPSTREAM_TLS_CIPHER", O::Unknown),
        ("DOWNSTREAM_TLS_VERSION", O::Unknown),
        ("DOWNSTREAM_TLS_CIPHER", O::Unknown),
        ("DOWNSTREAM_PEER_SUBJECT", O::Unknown),
        ("DOWNSTREAM_PEER_URI_SAN", O::Unknown),
        ("DOWNSTREAM_PEER_SERIAL", O::Unknown),
        ("DOWNSTREAM_PEER_FINGERPRINT_256", O::Unknown),
        ("CONNECTION_ID", O::Unknown),
        ("REQUEST_DURATION", O::Unknown),
        ("FILTER_CHAIN_NAME", O::Unknown),
        ("VIRTUAL_CLUSTER_NAME", O::Unknown),
    ]
};

/// Metadata by namespace and key.
const METADATA: [(&str, &str, LogMetadata); 19] = {
    use LogMetadata as M;
    const AI: &str = "io.envoy.ai_gateway";
    const OWN: &str = "pailou";
    [
        (AI, "llm_input_token", M::InputTokens),
        (AI, "llm_cached_input_token", M::CachedInputTokens),
        (AI, "llm_cache_creation_input_token", M::CacheCreationInputTokens),
        (AI, "llm_output_token", M::OutputTokens),
        (AI, "llm_reasoning_token", M::ReasoningTokens),
        (AI, "llm_total_token", M::TotalTokens),
        (AI, "model_name_override", M::TargetModel),
        (OWN, "input_tokens", M::InputTokens),
        (OWN, "cached_tokens", M::CachedInputTokens),
        (OWN, "output_tokens", M::OutputTokens),
        (OWN, "cost_usd", M::CostUsd),
        (OWN, "model", M::Model),
        (OWN, "target_model", M::TargetModel),
        (OWN, "endpoint", M::Endpoint),
        (OWN, "prefill_endpoint", M::PrefillEndpoint),
        (OWN, "listener", M::Listener),
        (OWN, "queue_ms", M::QueueMs),
        (OWN, "ttft_ms", M::TtftMs),
        (OWN, "total_tokens", M::TotalTokens),
    ]
};

/// Takes an operator off a text that follows a percent sign. `None` where there is none.
pub(super) fn split(text: &str) -> Option<(Written<'_>, &str)> {
    let end = text.find(|letter: char| !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'))?;
    let (name, rest) = text.split_at(end);
    let (argument, rest) = match rest.strip_prefix('(') {
        None => (None, rest),
        Some(inner) => {
            // An argument may have percent signs, as forms of times do.
            let (argument, rest) = inner.split_once(')')?;
            (Some(argument), rest)
        }
    };
    let (length, rest) = match rest.strip_prefix(':') {
        None => (None, rest),
        Some(rest) => {
            let (digits, _) = rest.split_once('%')?;
            (Some(digits.parse().ok()?), &rest[digits.len()..])
        }
    };
    let rest = rest.strip_prefix('%').filter(|_| !name.is_empty())?;
    Some((Written { name, argument, length }, rest))
}

/// Reads an operator.
///
/// # Errors
/// It is unknown, or its argument is.
pub(super) fn read(written: &Written<'_>, captured: &mut Captured) -> Result<LogOperator, String> {
    let Written { name, argument, .. } = *written;
    if let Some((_, operator)) = PLAIN.iter().find(|(known, _)| *known == name && (argument.is_none() || name == "GRPC_STATUS")) {
        return match argument {
            None | Some("CAMEL_STRING") => Ok(operator.clone()),
            Some("SNAKE_STRING") => Ok(LogOperator::GrpcStatus(GrpcStatusForm::Snake)),
            Some("NUMBER") => Ok(LogOperator::GrpcStatus(GrpcStatusForm::Number)),
            Some(other) => Err(format!("%GRPC_STATUS({other})%: write CAMEL_STRING, SNAKE_STRING or NUMBER")),
        };
    }
    let needs = |example: &str| argument.ok_or_else(|| format!("%{name}% needs an argument, as in %{name}({example})%"));
    match name {
        "START_TIME" => time_format(argument).map(LogOperator::StartTime).map_err(|error| format!("%START_TIME%: {error}")),
        "EMIT_TIME" => time_format(argument).map(LogOperator::EmitTime).map_err(|error| format!("%EMIT_TIME%: {error}")),
        "REQ" => either(needs("X-NAME")?, |name| request(name, captured)),
        "REQ_WITHOUT_QUERY" => either(needs("X-NAME")?, |name| {
            Ok(match request(name, captured)? {
                LogOperator::RequestHeader(place) => LogOperator::RequestUrl(place),
                other => other,
            })
        }),
        "RESP" => either(needs("X-NAME")?, |name| response(name, captured)),
        "TRAILER" => either(needs("X-NAME")?, |name| Ok(LogOperator::Trailer(captured.trailer(header(name)?)))),
        "PATH" => match needs("NQ")?.split(':').next() {
            Some("NQ") => Ok(LogOperator::Path),
            _ => Err("%PATH%: queries may hold credentials: write %PATH(NQ)%, and %QUERY_PARAM(name)% for a parameter".to_owned()),
        },
        "QUERY_PARAM" => {
            let name = needs("name")?;
            if is_secret_name(name) {
                return Err(format!("%QUERY_PARAM({name})%: values of this name may be credentials, which no log gets"));
            }
            captured.query = true;
            Ok(LogOperator::QueryParameter(name.into()))
        }
        "ENVIRONMENT" => environment(needs("NAME")?),
        "DYNAMIC_METADATA" => metadata(needs("pailou:model")?),
        _ => Err(format!("%{name}% is no command operator that is supported")),
    }
}

/// A variable of the environment.
///
/// # Errors
/// Its value may be a credential.
pub(crate) fn environment(name: &str) -> Result<LogOperator, String> {
    match is_secret_name(name) || name.contains("HEADERS") {
        true => Err(format!("%ENVIRONMENT({name})%: values of this name may be credentials, which no log gets")),
        false => Ok(LogOperator::Environment(name.into())),
    }
}

/// A name, or another after `?` where the first is absent.
fn either(argument: &str, mut read: impl FnMut(&str) -> Result<LogOperator, String>) -> Result<LogOperator, String> {
    match argument.split_once('?') {
        None => read(argument),
        Some((first, other)) => Ok(LogOperator::First(Box::new([read(first)?, read(other)?]))),
    }
}

/// A header of the request.
///
/// # Errors
/// It is no name of a header.
pub(crate) fn request(name: &str, captured: &mut Captured) -> Result<LogOperator, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        ":method" => LogOperator::Method,
        ":path" => LogOperator::Path,
        ":authority" | "host" => LogOperator::Authority,
        ":scheme" => LogOperator::Scheme,
        "x-request-id" => LogOperator::RequestId,
        "x-gateway-model-name" | "x-ai-eg-model" => LogOperator::Model,
        "x-forwarded-for" => LogOperator::ForwardedFor(captured.request(header(name)?)),
        _ => LogOperator::RequestHeader(captured.request(header(name)?)),
    })
}

fn response(name: &str, captured: &mut Captured) -> Result<LogOperator, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        ":status" => LogOperator::ResponseCode,
        "x-envoy-upstream-service-time" => LogOperator::UpstreamServiceTime,
        _ => LogOperator::ResponseHeader(captured.response(header(name)?)),
    })
}

fn header(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no name of a header"))
}

fn metadata(argument: &str) -> Result<LogOperator, String> {
    let found = argument.split_once(':').and_then(|(namespace, key)| {
        METADATA.iter().find(|(known, its, _)| *known == namespace && *its == key).map(|(_, _, fact)| *fact)
    });
    found.map(LogOperator::Metadata).ok_or_else(|| {
        let known = METADATA.map(|(namespace, key, _)| format!("{namespace}:{key}")).join(", ");
        format!("%DYNAMIC_METADATA({argument})%: there are {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(text: &str) -> Result<(LogOperator, Option<usize>), String> {
        let (written, rest) = split(text).ok_or("none")?;
        assert_eq!(rest, "rest", "{text}");
        Ok((read(&written, &mut Captured::default())?, written.length))
    }

    #[test]
    fn operators_have_arguments_alternatives_and_lengths() {
        let place = |at| pailou_snapshot::HeaderPlace(at);
        for (text, expected) in [
            ("RESPONSE_CODE%rest", (LogOperator::ResponseCode, None)),
            ("REQ(X-A):10%rest", (LogOperator::RequestHeader(place(0)), Some(10))),
            ("REQ(:path)%rest", (LogOperator::Path, None)),
            ("REQ_WITHOUT_QUERY(X-A)%rest", (LogOperator::RequestUrl(place(0)), None)),
            ("REQ_WITHOUT_QUERY(:PATH)%rest", (LogOperator::Path, None)),
            ("RESP(:STATUS)%rest", (LogOperator::ResponseCode, None)),
            ("GRPC_STATUS(NUMBER)%rest", (LogOperator::GrpcStatus(GrpcStatusForm::Number), None)),
            ("DYNAMIC_METADATA(io.envoy.ai_gateway:llm_total_token)%rest", (LogOperator::Metadata(LogMetadata::TotalTokens), None)),
            ("RESP(X-A?X-B)%rest", (LogOperator::First(Box::new([0, 1].map(|at| LogOperator::ResponseHeader(place(at))))), None)),
            (
                "REQ(X-ENVOY-ORIGINAL-PATH?:PATH):5%rest",
                (LogOperator::First(Box::new([LogOperator::RequestHeader(place(0)), LogOperator::Path])), Some(5)),
            ),
        ] {
            assert_eq!(operator(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_operator_that_cannot_be_had_says_why() {
        for (text, says) in [
            ("NO_SUCH%rest", "%NO_SUCH% is no command operator"),
            ("CEL(request.path)%rest", "%CEL% is no command operator"),
            ("REQ%rest", "needs an argument"),
            ("REQ(a b)%rest", "no name of a header"),
            ("PATH(WQ)%rest", "may hold credentials"),
            ("QUERY_PARAM(key)%rest", "may be credentials"),
            ("ENVIRONMENT(OPENAI_API_KEY)%rest", "may be credentials"),
            ("ENVIRONMENT(OTEL_EXPORTER_OTLP_HEADERS)%rest", "may be credentials"),
            ("DYNAMIC_METADATA(a:b)%rest", "io.envoy.ai_gateway:llm_input_token"),
            ("START_TIME(%!)%rest", "%START_TIME%: "),
        ] {
            let error = operator(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        for text in ["", "off", "REQ(a", "REQ(a):x%", " 50%"] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
