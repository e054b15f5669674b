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

/// The message that a call was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnaryMessage {
    /// Its bytes.
    pub bytes: Bytes,
    /// They are compressed, as `grpc-encoding` says.
    pub is_compressed: bool,
}

/// The bytes of the message that a call was answered with.
///
/// # Errors
/// The call failed, or its answer is not one uncompressed message.
pub fn unary_answer(head: &Parts, body: &Bytes, trailers: Option<&HeaderMap>) -> Result<Bytes, CallFailure> {
    let message = unary_message(head, body, trailers)?.filter(|message| !message.is_compressed);
    message.map(|message| message.bytes).ok_or(CallFailure::Framing)
}

/// The message of a call that was sent compressed: the answer may be so too. `None` where the body is not one message.
///
/// # Errors
/// The call failed.
pub fn unary_message(head: &Parts, body: &Bytes, trailers: Option<&HeaderMap>) -> Result<Option<UnaryMessage>, CallFailure> {
    if head.status != StatusCode::OK {
        return Err(CallFailure::Status(head.status));
    }
    match trailers.and_then(ended).or_else(|| ended(&head.headers)) {
        Some((code, message)) if code != "0" => return Err(CallFailure::Grpc { code, message }),
        Some(_) => {}
        None => return Err(CallFailure::Framing),
    }
    let [flag @ (0 | 1), a, b, c, d, message @ ..] = &**body else { return Ok(None) };
    if message.len() as u64 != u64::from(u32::from_be_bytes([*a, *b, *c, *d])) {
        return Ok(None);
    }
    Ok(Some(UnaryMessage { bytes: body.slice(frame::PREFIX_LENGTH..), is_compressed: *flag == 1 }))
}

/// The status that headers or trailers end a call with, and its message.
fn ended(headers: &HeaderMap) -> Option<(String, String)> {
    let text = |name: &str| headers.get(name).map(|value| cut(value.as_bytes()));
    Some((text("grpc-status")?, text("grpc-message").unwrap_or_default()))
}

fn cut(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(MAX_MESSAGE)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(body: &'static [u8], status: &str) -> (Result<Bytes, CallFailure>, Result<Option<UnaryMessage>, CallFailure>) {
        let head = http::Response::new(()).into_parts().0;
        let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), status.parse().unwrap())]);
        let body = Bytes::from_static(body);
        (unary_answer(&head, &body, Some(&trailers)), unary_message(&head, &body, Some(&trailers)))
    }

    #[test]
    fn a_compressed_message_is_one_only_for_those_that_ask() {
        let message = |is_compressed| Ok(Some(UnaryMessage { bytes: Bytes::from_static(b"ab"), is_compressed }));
        assert_eq!(answered(b"\0\0\0\0\x02ab", "0"), (Ok(Bytes::from_static(b"ab")), message(false)));
        assert_eq!(answered(b"\x01\0\0\0\x02ab", "0"), (Err(CallFailure::Framing), message(true)));
        for none in [&b""[..], b"\x02\0\0\0\x02ab", b"\0\0\0\0\x03ab"] {
            assert_eq!(answered(none, "0"), (Err(CallFailure::Framing), Ok(None)));
        }
        let failure = CallFailure::Grpc { code: "14".to_owned(), message: String::new() };
        assert_eq!(answered(b"", "14"), (Err(failure.clone()), Err(failure)));
    }
}
