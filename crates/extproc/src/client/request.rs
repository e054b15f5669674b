//! Request for an endpoint, sent to a picker.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use pailou_envoy_proto::{
    core::{self, Metadata},
    ext_proc::{BodySendMode, HttpHeaders, ProcessingRequest, ProcessingResponse, ProtocolConfiguration, processing_request},
    frame, structs,
};
use tonic::{Status, Streaming, codec::Codec};
use tonic_prost::ProstCodec;

use super::{
    conversation::{Asked, Conversation},
    failure::Failure,
    framing,
    outbox::Outbox,
};
use crate::{
    Direction, Room,
    chunks::chunks,
    names::{METHOD_PATH, SUBSET, SUBSET_NAMESPACE},
};

/// The longest message taken from a picker, in bytes.
const MAX_MESSAGE: usize = 16 << 20;

/// A request for which an endpoint is to be chosen.
#[derive(Debug)]
pub struct EndpointRequest<'a> {
    /// Its method.
    pub method: &'a Method,
    /// `http` or `https`, as the client speaks it.
    pub scheme: &'a str,
    /// Its host.
    pub authority: &'a str,
    /// Its path and query.
    pub path: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, in pieces that are shared and not copied.
    pub body: Vec<Bytes>,
    /// The endpoints that may be chosen, as lists of `ip` or `ip:port`; `None` is all.
    pub subset: Option<&'a str>,
    /// The longest body that may come back, in bytes.
    pub max_body: usize,
}

impl EndpointRequest<'_> {
    /// The request that begins the conversation, to be sent by HTTP/2 to the picker. `Host` is to be set by the caller.
    pub fn into_http(self) -> (Request<Outbox>, PendingRequest) {
        let body: Vec<Bytes> = self.body.iter().filter(|piece| !piece.is_empty()).cloned().collect();
        let mut frames = VecDeque::from([frame::encode(&self.head(body.is_empty()))]);
        let chunks: Vec<Bytes> = body.iter().flat_map(chunks).collect();
        for (place, chunk) in chunks.iter().enumerate() {
            frames.extend(framing::piece(Direction::Request, chunk, place + 1 == chunks.len()));
        }
        let (outbox, sender) = Outbox::new(frames);
        let mut request = Request::new(outbox);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(METHOD_PATH);
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("pailou"));
        (request, PendingRequest(Asked { sender, body, chunks, max_length: self.max_body }))
    }

    fn head(&self, end_of_stream: bool) -> ProcessingRequest {
        let pseudo =
            [(":method", self.method.as_str()), (":scheme", self.scheme), (":authority", self.authority), (":path", self.path)];
        let pseudo = pseudo.map(|(name, value)| core::HeaderValue::new(name, Bytes::copy_from_slice(value.as_bytes())));
        let headers = pseudo.into_iter().chain(header_values(self.headers)).collect();
        let subset = self.subset.map(|subset| {
            let entries = subset.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            let fields = structs::structure(SUBSET, structs::list(entries));
            Metadata { filter_metadata: HashMap::from([(SUBSET_NAMESPACE.to_owned(), fields)]) }
        });
        let head = HttpHeaders { headers: Some(core::HeaderMap { headers }), end_of_stream };
        ProcessingRequest {
            request: Some(processing_request::Request::RequestHeaders(head)),
            metadata_context: subset,
            protocol_config: Some(ProtocolConfiguration {
                request_body_mode: BodySendMode::FullDuplexStreamed as i32,
                response_body_mode: BodySendMode::FullDuplexStreamed as i32,
                send_body_without_waiting_for_header_response: true,
            }),
            ..ProcessingRequest::default()
        }
    }
}

/// A question that is on its way.
pub struct PendingRequest(Asked);

impl PendingRequest {
    /// The conversation that the response to the request begins. A body that comes back changed takes room of `room`.
    ///
    /// # Errors
    /// It is not gRPC's, or says that the call failed.
    pub fn into_conversation<B>(self, response: Response<B>, room: Box<dyn Room>) -> Result<Conversation, Failure>
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = response.into_parts();
        let grpc = head.headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        if head.status != StatusCode::OK || !grpc {
            return Err(Failure::NotGrpc(head.status));
        }
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Err(if status.code() == tonic::Code::Ok { Failure::NoChoice } else { status.into() });
        }
        let decoder = ProstCodec::<ProcessingRequest, ProcessingResponse>::default().decoder();
        let replies = Streaming::new_response(decoder, body, head.status, None, Some(MAX_MESSAGE));
        Ok(Conversation::new(replies, self.0, room))
    }
}

/// Headers as a message has them.
pub(super) fn header_values(headers: &HeaderMap) -> impl Iterator<Item = core::HeaderValue> {
    headers.iter().map(|(name, value)| core::HeaderValue::new(name.as_str(), Bytes::copy_from_slice(value.as_bytes())))
}
