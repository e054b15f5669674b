//! Parts of a request and a response that are sent: `envoy.extensions.filters.http.ext_proc.v3.ProcessingMode`.

/// Parts that are sent, and in which way.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ProcessingMode {
    /// The request's headers.
    #[prost(enumeration = "HeaderSendMode", tag = "1")]
    pub request_header_mode: i32,
    /// The response's headers.
    #[prost(enumeration = "HeaderSendMode", tag = "2")]
    pub response_header_mode: i32,
    /// The request's body.
    #[prost(enumeration = "BodySendMode", tag = "3")]
    pub request_body_mode: i32,
    /// The response's body.
    #[prost(enumeration = "BodySendMode", tag = "4")]
    pub response_body_mode: i32,
    /// The request's trailers.
    #[prost(enumeration = "HeaderSendMode", tag = "5")]
    pub request_trailer_mode: i32,
    /// The response's trailers.
    #[prost(enumeration = "HeaderSendMode", tag = "6")]
    pub response_trailer_mode: i32,
}

/// Whether headers or trailers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum HeaderSendMode {
    /// As the proxy is configured.
    Default = 0,
    /// They are.
    Send = 1,
    /// They are not.
    Skip = 2,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum BodySendMode {
    /// Not at all.
    None = 0,
    /// In pieces, each of which is answered.
    Streamed = 1,
    /// As one.
    Buffered = 2,
    /// As one, as far as it is not too long.
    BufferedPartial = 3,
    /// In pieces, as a stream of pieces comes back: the endpoint picker protocol's.
    FullDuplexStreamed = 4,
}

/// The proxy's modes, in the first message of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ProtocolConfiguration {
    /// How the request's body is sent.
    #[prost(enumeration = "BodySendMode", tag = "1")]
    pub request_body_mode: i32,
    /// How the response's body is sent.
    #[prost(enumeration = "BodySendMode", tag = "2")]
    pub response_body_mode: i32,
    /// The body does not wait for the answer to the headers.
    #[prost(bool, tag = "3")]
    pub send_body_without_waiting_for_header_response: bool,
}
