//! Messages to a server, framed for gRPC.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use pailou_envoy_proto::{
    core::{self, HeaderValue, Metadata},
    ext_proc::{HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, processing_request::Request},
    frame,
    structs::Struct,
};

use super::modes::Modes;
use crate::{Direction, client::framing};

/// Key of the attributes: the name of Envoy's filter.
const FILTER_NAME: &str = "envoy.filters.http.ext_proc";

/// Parts of a message beside the part of the request or response.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// Attributes by name; sent with the first message of a direction.
    pub attributes: Option<Struct>,
    /// Metadata of the request, by namespace.
    pub metadata: Option<Metadata>,
    /// Modes, in the first message of a stream.
    pub modes: Option<Modes>,
    /// The server only watches.
    pub is_observed: bool,
}

/// Pseudo-headers of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// `:method`.
    pub method: &'a Method,
    /// `:scheme`.
    pub scheme: &'a str,
    /// `:authority`.
    pub authority: &'a str,
    /// `:path`, with the query.
    pub path: &'a str,
}

/// The headers of a request. Neither body nor trailers follow them at the end of the stream.
pub fn request_headers(line: RequestLine<'_>, headers: &HeaderMap, end_of_stream: bool, envelope: Envelope) -> Bytes {
    let pseudo =
        [(":authority", line.authority), (":path", line.path), (":method", line.method.as_str()), (":scheme", line.scheme)];
    let pseudo = pseudo.map(|(name, value)| HeaderValue::new(name, Bytes::copy_from_slice(value.as_bytes())));
    let fields = values(headers).filter(|field| field.key != header::HOST.as_str());
    let headers = pseudo.into_iter().chain(fields).collect();
    encode(Request::RequestHeaders(HttpHeaders { headers: Some(core::HeaderMap { headers }), end_of_stream }), envelope)
}

/// The headers of a response. Neither body nor trailers follow them at the end of the stream.
pub fn response_headers(status: StatusCode, headers: &HeaderMap, end_of_stream: bool, envelope: Envelope) -> Bytes {
    let status = HeaderValue::new(":status", Bytes::copy_from_slice(status.as_str().as_bytes()));
    let headers = [status].into_iter().chain(values(headers)).collect();
    encode(Request::ResponseHeaders(HttpHeaders { headers: Some(core::HeaderMap { headers }), end_of_stream }), envelope)
}

/// A piece of a body, in frames that belong together. `end_of_stream`: it is the last, and no trailers follow.
pub fn body(direction: Direction, piece: &Bytes, end_of_stream: bool, metadata: Option<&Metadata>) -> [Bytes; 2] {
    let Some(metadata) = metadata else { return framing::piece(direction, piece, end_of_stream) };
    let envelope = Envelope { metadata: Some(metadata.clone()), ..Envelope::default() };
    [encode(body_part(direction, piece, end_of_stream), envelope), Bytes::new()]
}

fn body_part(direction: Direction, piece: &Bytes, end_of_stream: bool) -> Request {
    let body = HttpBody { body: piece.clone(), end_of_stream };
    match direction {
        Direction::Request => Request::RequestBody(body),
        Direction::Response => Request::ResponseBody(body),
    }
}

/// The same for a server that only watches.
pub(super) fn observed_body(direction: Direction, piece: &Bytes, end_of_stream: bool, metadata: Option<&Metadata>) -> [Bytes; 2] {
    let Some(metadata) = metadata else { return framing::observed_piece(direction, piece, end_of_stream) };
    let envelope = Envelope { metadata: Some(metadata.clone()), is_observed: true, ..Envelope::default() };
    [encode(body_part(direction, piece, end_of_stream), envelope), Bytes::new()]
}

/// Trailers.
pub fn trailers(direction: Direction, trailers: &HeaderMap, metadata: Option<&Metadata>) -> Bytes {
    let trailers = HttpTrailers { trailers: Some(core::HeaderMap { headers: values(trailers).collect() }) };
    let part = match direction {
        Direction::Request => Request::RequestTrailers(trailers),
        Direction::Response => Request::ResponseTrailers(trailers),
    };
    encode(part, Envelope { metadata: metadata.cloned(), ..Envelope::default() })
}

fn values(headers: &HeaderMap) -> impl Iterator<Item = HeaderValue> {
    headers.iter().map(|(name, value)| HeaderValue::new(name.as_str(), Bytes::copy_from_slice(value.as_bytes())))
}

fn encode(part: Request, envelope: Envelope) -> Bytes {
    let Envelope { attributes, metadata, modes, is_observed } = envelope;
    frame::encode(&ProcessingRequest {
        request: Some(part),
        metadata_context: metadata,
        attributes: attributes.map(|attributes| HashMap::from([(FILTER_NAME.to_owned(), attributes)])).unwrap_or_default(),
        observability_mode: is_observed,
        protocol_config: modes.map(|modes| modes.configuration()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pailou_envoy_proto::structs;
    use prost::Message;

    fn decode(frames: &[u8]) -> ProcessingRequest {
        ProcessingRequest::decode(&frames[5..]).unwrap()
    }

    #[test]
    fn the_host_is_told_once_as_the_authority() {
        let headers = HeaderMap::from_iter([(header::HOST, http::HeaderValue::from_static("example"))]);
        let line = RequestLine { method: &Method::GET, scheme: "http", authority: "example", path: "/a?b" };
        let frame = request_headers(line, &headers, true, Envelope::default());
        let Some(Request::RequestHeaders(sent)) = decode(&frame).request else { panic!() };
        let names: Vec<_> = sent.headers.unwrap().headers.into_iter().map(|it| it.key).collect();
        assert_eq!(
            (names.as_slice(), sent.end_of_stream),
            (&[":authority", ":path", ":method", ":scheme"].map(String::from)[..], true)
        );
    }

    #[test]
    fn metadata_goes_with_every_piece() {
        let namespace = structs::structure("key", structs::string("value"));
        let metadata = Metadata { filter_metadata: HashMap::from([("a".to_owned(), namespace)]) };
        let frames = body(Direction::Response, &Bytes::from_static(b"piece"), true, Some(&metadata)).concat();
        let message = decode(&frames);
        assert_eq!(message.metadata_context, Some(metadata));
        let body = HttpBody { body: Bytes::from_static(b"piece"), end_of_stream: true };
        assert_eq!(message.request, Some(Request::ResponseBody(body)));
    }
}
