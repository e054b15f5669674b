//! Request for an endpoint, received from a proxy.

use http::{HeaderMap, HeaderName, HeaderValue};
use pailou_envoy_proto::{
    core::Metadata,
    ext_proc::{BodySendMode, ProcessingRequest, ProtocolConfiguration, processing_request::Request},
    structs::strings,
};

use crate::{
    endpoints::Subset,
    names::{ENDPOINT_NAMESPACE, SERVED, SUBSET, SUBSET_NAMESPACE},
};

/// The most headers that are read of a request; more are passed over.
const MAX_HEADERS: usize = 256;

/// The first message of a conversation.
#[derive(Debug)]
pub struct EndpointRequest {
    /// The path and query.
    pub path: String,
    /// The headers, without pseudo-headers and what is no header.
    pub headers: HeaderMap,
    /// Neither body nor trailers follow.
    pub end_of_stream: bool,
    /// Time at which the proxy needs the choice.
    pub body_mode: BodyMode,
    /// The response's body is to come back as a stream of pieces.
    pub echoes_response: bool,
    /// The endpoints that may be chosen; `None` is all. A hint that cannot be read lets none in.
    pub subset: Option<Subset>,
    /// The proxy ignores replies.
    pub observes: bool,
}

/// Mode of a request's body, which decides when a proxy needs the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyMode {
    /// After the body, with the answer to the headers, and then the body back: `FULL_DUPLEX_STREAMED`. So is a proxy understood
    /// that says nothing: it is the protocol's own.
    Duplex,
    /// With the answer to the body, which comes as one: `BUFFERED`, `BUFFERED_PARTIAL`.
    Buffered,
    /// With the answer to the headers, which the proxy waits for: `NONE`, `STREAMED`. The body can have no say.
    Headers,
}

impl EndpointRequest {
    /// Reads the first message; `None` unless it brings the request's headers.
    pub fn read(message: ProcessingRequest) -> Option<Self> {
        let Some(Request::RequestHeaders(head)) = message.request else { return None };
        let mut request = Self {
            path: String::new(),
            headers: HeaderMap::new(),
            end_of_stream: head.end_of_stream,
            body_mode: message.protocol_config.map_or(BodyMode::Duplex, |config| body_mode(&config)),
            echoes_response: message
                .protocol_config
                .is_none_or(|config| config.response_body_mode == BodySendMode::FullDuplexStreamed as i32),
            subset: subset(message.metadata_context.as_ref()),
            observes: message.observability_mode,
        };
        for header in head.headers.unwrap_or_default().headers.iter().take(MAX_HEADERS) {
            if header.key == ":path" {
                request.path = String::from_utf8_lossy(header.bytes()).into_owned();
            } else if let (Ok(name), Ok(value)) = (HeaderName::try_from(&header.key), HeaderValue::from_bytes(header.bytes())) {
                request.headers.append(name, value);
            }
        }
        Some(request)
    }

    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The endpoint that answered, as a message with the response's headers names it.
pub fn served(metadata: Option<&Metadata>) -> Option<&str> {
    let value = metadata?.filter_metadata.get(ENDPOINT_NAMESPACE)?.fields.get(SERVED)?;
    strings(value)?.first().copied()
}

fn body_mode(config: &ProtocolConfiguration) -> BodyMode {
    match BodySendMode::try_from(config.request_body_mode) {
        Ok(BodySendMode::FullDuplexStreamed) => BodyMode::Duplex,
        Ok(BodySendMode::Buffered | BodySendMode::BufferedPartial) => BodyMode::Buffered,
        _ => BodyMode::Headers,
    }
}

fn subset(metadata: Option<&Metadata>) -> Option<Subset> {
    let value = metadata?.filter_metadata.get(SUBSET_NAMESPACE)?.fields.get(SUBSET)?;
    Some(Subset::parse(strings(value).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pailou_envoy_proto::{
        core,
        ext_proc::HttpHeaders,
        structs::{list, string, structure},
    };

    fn message(config: Option<ProtocolConfiguration>, hint: Option<prost_types::Value>) -> ProcessingRequest {
        let headers = [(":path", "/v1/models"), ("x-a", "1"), ("not a header", "2")];
        let headers = headers.map(|(name, value)| core::HeaderValue::new(name, value)).into();
        let head = HttpHeaders { headers: Some(core::HeaderMap { headers }), end_of_stream: true };
        let metadata =
            hint.map(|hint| Metadata { filter_metadata: [(SUBSET_NAMESPACE.to_owned(), structure(SUBSET, hint))].into() });
        ProcessingRequest {
            request: Some(Request::RequestHeaders(head)),
            metadata_context: metadata,
            protocol_config: config,
            ..ProcessingRequest::default()
        }
    }

    #[test]
    fn path_and_headers_are_read_and_what_is_no_header_is_passed_over() {
        let request = EndpointRequest::read(message(None, None)).unwrap();
        assert_eq!((request.path.as_str(), request.header("x-a"), request.headers.len()), ("/v1/models", Some("1"), 1));
        assert!(request.end_of_stream && request.subset.is_none());
        assert!(EndpointRequest::read(ProcessingRequest::default()).is_none());
    }

    #[test]
    fn the_body_mode_follows_from_how_the_body_is_sent() {
        let of = |mode: BodySendMode| {
            let config = ProtocolConfiguration { request_body_mode: mode as i32, ..ProtocolConfiguration::default() };
            EndpointRequest::read(message(Some(config), None)).unwrap().body_mode
        };
        assert_eq!(EndpointRequest::read(message(None, None)).unwrap().body_mode, BodyMode::Duplex);
        assert_eq!(of(BodySendMode::FullDuplexStreamed), BodyMode::Duplex);
        assert_eq!((of(BodySendMode::Buffered), of(BodySendMode::BufferedPartial)), (BodyMode::Buffered, BodyMode::Buffered));
        assert_eq!((of(BodySendMode::None), of(BodySendMode::Streamed)), (BodyMode::Headers, BodyMode::Headers));
    }

    #[test]
    fn hints_are_lists_or_strings_and_anything_else_lets_none_in() {
        let contains = |hint| {
            let subset = EndpointRequest::read(message(None, Some(hint))).unwrap().subset.unwrap();
            ["10.0.0.1:1", "10.0.0.2:2"].map(|endpoint| subset.contains(endpoint.parse().unwrap()))
        };
        assert_eq!(contains(list(["10.0.0.1:1", "10.0.0.2"])), [true, true]);
        assert_eq!(contains(string("10.0.0.1:1,10.0.0.2:9")), [true, false]);
        assert_eq!(contains(prost_types::Value { kind: Some(prost_types::value::Kind::BoolValue(true)) }), [false, false]);
    }
}
