//! Unary calls of gRPC over HTTP/2, as messages of HTTP.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, response::Parts};
use prost::Message;

use crate::frame;

/// Longest message of a failed call that is kept, in bytes.
const MAX_MESSAGE: usize = 256;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The HTTP status is not 200.
    Status(StatusCode),
    /// The gRPC status is not OK.
    Grpc {
        /// The status.
        code: String,
        /// Its message, cut.
        message: String,
    },
    /// The answer is not one message.
    Framing,
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "it answered {status}"),
            Self::Grpc { code, message } => write!(f, "it answered with gRPC status {code}: {message}"),
            Self::Framing => f.write_str("its answer is not one gRPC message"),
        }
    }
}

impl std::error::Error for CallFailure {}

/// The call of a method, `/package.Service/Method`. The caller adds the host.
pub fn unary_call(path: &'static str, message: &impl Message) -> Request<Bytes> {
    let mut request = Request::new(frame::encode(message));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    request
}

/// The bytes of the message that a call was answered with.
///
/// # Errors
/// The call failed, or its answer is not one uncompressed message.
pub fn unary_answer(head: &Parts, body: &Bytes, trailers: Option<&HeaderMap>) -> Result<Bytes, CallFailure> {
    if head.status != StatusCode::OK {
        return Err(CallFailure::Status(head.status));
    }
    match trailers.and_then(ended).or_else(|| ended(&head.headers)) {
        Some((code, message)) if code != "0" => return Err(CallFailure::Grpc { code, message }),
        Some(_) => {}
        None => return Err(CallFailure::Framing),
    }
    let [0, a, b, c, d, message @ ..] = &**body else { return Err(CallFailure::Framing) };
    if message.len() as u64 != u64::from(u32::from_be_bytes([*a, *b, *c, *d])) {
        return Err(CallFailure::Framing);
    }
    Ok(body.slice(frame::PREFIX_LENGTH..))
}

/// The status that headers or trailers end a call with, and its message.
fn ended(headers: &HeaderMap) -> Option<(String, String)> {
    let text = |name: &str| headers.get(name).map(|value| cut(value.as_bytes()));
    Some((text("grpc-status")?, text("grpc-message").unwrap_or_default()))
}

fn cut(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(MAX_MESSAGE)]).into_owned()
}
