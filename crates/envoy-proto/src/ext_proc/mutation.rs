//! Changes that a picker makes.

use bytes::Bytes;

use crate::core::{HeaderMap, HeaderValueOption};

/// An answer to headers or to a piece of a body.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CommonResponse {
    /// Whether the body is replaced with the headers.
    #[prost(enumeration = "ResponseStatus", tag = "1")]
    pub status: i32,
    /// Changes of the headers.
    #[prost(message, optional, tag = "2")]
    pub header_mutation: Option<HeaderMutation>,
    /// Replacement of the piece; `None` leaves it as it is.
    #[prost(message, optional, tag = "3")]
    pub body_mutation: Option<BodyMutation>,
    /// Trailers to add to a replaced body.
    #[prost(message, optional, tag = "4")]
    pub trailers: Option<HeaderMap>,
    /// The route is to be chosen again.
    #[prost(bool, tag = "5")]
    pub clear_route_cache: bool,
}

/// Whether the body is replaced with the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ResponseStatus {
    /// It is not.
    Continue = 0,
    /// It is, and no more of it is to be sent.
    ContinueAndReplace = 1,
}

/// Changes of headers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeaderMutation {
    /// Headers to set.
    #[prost(message, repeated, tag = "1")]
    pub set_headers: Vec<HeaderValueOption>,
    /// Headers to remove, by name.
    #[prost(string, repeated, tag = "2")]
    pub remove_headers: Vec<String>,
}

/// Replacement of a piece.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BodyMutation {
    /// The replacement.
    #[prost(oneof = "body_mutation::Mutation", tags = "1, 2, 3")]
    pub mutation: Option<body_mutation::Mutation>,
}

/// The kinds of [`BodyMutation`].
pub mod body_mutation {
    use bytes::Bytes;

    /// Replacement of a piece.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Mutation {
        /// These bytes.
        #[prost(bytes = "bytes", tag = "1")]
        Body(Bytes),
        /// Nothing.
        #[prost(bool, tag = "2")]
        ClearBody(bool),
        /// A piece of a stream that takes the place of the stream sent.
        #[prost(message, tag = "3")]
        StreamedResponse(super::StreamedBodyResponse),
    }
}

/// A piece of a body that is streamed back.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamedBodyResponse {
    /// The bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    /// The last piece, and no trailers follow.
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

/// A gRPC status.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GrpcStatus {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub status: u32,
}
