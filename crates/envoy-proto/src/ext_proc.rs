//! `envoy.service.ext_proc.v3`: messages to an external processor or endpoint picker, and its answers.

use std::collections::HashMap;

use bytes::Bytes;
use prost_types::Struct;

use crate::core::{HeaderMap, HttpStatus, Metadata};

mod mode;
mod mutation;

pub use mode::{BodySendMode, HeaderSendMode, ProcessingMode, ProtocolConfiguration};
pub use mutation::{BodyMutation, CommonResponse, GrpcStatus, HeaderMutation, ResponseStatus, StreamedBodyResponse, body_mutation};

/// A message from a proxy.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessingRequest {
    /// The part of the request or response that it brings.
    #[prost(oneof = "processing_request::Request", tags = "2, 3, 4, 5, 6, 7")]
    pub request: Option<processing_request::Request>,
    /// Further metadata, by namespace.
    #[prost(message, optional, tag = "8")]
    pub metadata_context: Option<Metadata>,
    /// Attributes that the proxy is configured to send.
    #[prost(map = "string, message", tag = "9")]
    pub attributes: HashMap<String, Struct>,
    /// The proxy waits for no answer.
    #[prost(bool, tag = "10")]
    pub observability_mode: bool,
    /// In the first message: what the proxy says of itself.
    #[prost(message, optional, tag = "11")]
    pub protocol_config: Option<ProtocolConfiguration>,
}

/// The parts that a [`ProcessingRequest`] brings.
pub mod processing_request {
    /// A part of the request or of the response.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Request {
        /// The request's headers.
        #[prost(message, tag = "2")]
        RequestHeaders(super::HttpHeaders),
        /// The response's headers.
        #[prost(message, tag = "3")]
        ResponseHeaders(super::HttpHeaders),
        /// A piece of the request's body.
        #[prost(message, tag = "4")]
        RequestBody(super::HttpBody),
        /// A piece of the response's body.
        #[prost(message, tag = "5")]
        ResponseBody(super::HttpBody),
        /// The request's trailers.
        #[prost(message, tag = "6")]
        RequestTrailers(super::HttpTrailers),
        /// The response's trailers.
        #[prost(message, tag = "7")]
        ResponseTrailers(super::HttpTrailers),
    }
}

/// A message from a picker.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessingResponse {
    /// The answer.
    #[prost(oneof = "processing_response::Response", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub response: Option<processing_response::Response>,
    /// Metadata for the proxy, by namespace.
    #[prost(message, optional, tag = "8")]
    pub dynamic_metadata: Option<Struct>,
    /// Parts that the picker wants from now on.
    #[prost(message, optional, tag = "9")]
    pub mode_override: Option<ProcessingMode>,
    /// Longer time that the server asks for. A message that has it says nothing else.
    #[prost(message, optional, tag = "10")]
    pub override_message_timeout: Option<prost_types::Duration>,
}

/// Answer in a [`ProcessingResponse`].
pub mod processing_response {
    /// The answered part.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Response {
        /// The request's headers.
        #[prost(message, tag = "1")]
        RequestHeaders(super::HeadersResponse),
        /// The response's headers.
        #[prost(message, tag = "2")]
        ResponseHeaders(super::HeadersResponse),
        /// A piece of the request's body.
        #[prost(message, tag = "3")]
        RequestBody(super::BodyResponse),
        /// A piece of the response's body.
        #[prost(message, tag = "4")]
        ResponseBody(super::BodyResponse),
        /// The request's trailers.
        #[prost(message, tag = "5")]
        RequestTrailers(super::TrailersResponse),
        /// The response's trailers.
        #[prost(message, tag = "6")]
        ResponseTrailers(super::TrailersResponse),
        /// The client, at once.
        #[prost(message, tag = "7")]
        ImmediateResponse(super::ImmediateResponse),
    }
}

/// Headers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HttpHeaders {
    /// The headers, pseudo-headers among them.
    #[prost(message, optional, tag = "1")]
    pub headers: Option<HeaderMap>,
    /// Neither body nor trailers follow.
    #[prost(bool, tag = "3")]
    pub end_of_stream: bool,
}

/// A piece of a body.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HttpBody {
    /// The bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    /// The last piece, and no trailers follow.
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

/// Trailers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HttpTrailers {
    /// The trailers.
    #[prost(message, optional, tag = "1")]
    pub trailers: Option<HeaderMap>,
}

/// An answer to headers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeadersResponse {
    /// The answer.
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

/// An answer to a piece of a body.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BodyResponse {
    /// The answer.
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

/// An answer to trailers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TrailersResponse {
    /// Changes of them.
    #[prost(message, optional, tag = "1")]
    pub header_mutation: Option<HeaderMutation>,
}

/// An answer to the client, in place of the backend's.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImmediateResponse {
    /// Its status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Its headers.
    #[prost(message, optional, tag = "2")]
    pub headers: Option<HeaderMutation>,
    /// Its body.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
    /// Its status for gRPC clients.
    #[prost(message, optional, tag = "4")]
    pub grpc_status: Option<GrpcStatus>,
    /// Why, for logs.
    #[prost(string, tag = "5")]
    pub details: String,
}
