//! Content codings of requests' bodies: their headers, and the room that decoded forms take.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pailou_ai::content_coding::{ACCEPTED, CodingError, Codings, Step};
use tokio::task::yield_now;

use crate::{
    context::Share,
    error::{Error, Flag},
};

/// The codings that `Content-Encoding` names; `None` where there is one that is not known, or too many.
pub(crate) fn codings(headers: &HeaderMap) -> Option<Codings> {
    // Most have none, which this tells at half the price.
    if !headers.contains_key(header::CONTENT_ENCODING) {
        return Some(Codings::default());
    }
    Codings::of(headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes))
}

/// Whether these headers are of a body that is as it was written.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::CONTENT_ENCODING) || codings(headers).is_some_and(|codings| codings.is_identity())
}

/// Decodes a body. Its decoded forms count towards the room for bodies.
///
/// # Errors
/// 413 where it becomes longer than `limit`, or out of all proportion; 400 where it is not of its coding; 503 where there is no
/// room.
pub(crate) async fn decode(codings: &Codings, body: &Bytes, limit: u64, share: &mut Share) -> Result<Bytes, Error> {
    let mut decoding = codings.decoding(body, limit);
    loop {
        let step = decoding.step().map_err(undecoded)?;
        share.grow_to(decoding.held())?;
        if let Step::Whole(decoded) = step {
            return Ok(decoded);
        }
        yield_now().await;
    }
}

fn undecoded(error: CodingError) -> Error {
    match error {
        CodingError::Malformed(_) => Error { status: StatusCode::BAD_REQUEST, ..Error::new(Flag::ClientBody, error.to_string()) },
        CodingError::TooLong(_) => Error::new(Flag::OverLimit, error.to_string()).with_code("request_too_large"),
    }
}

/// The error for a body in a coding that the gateway cannot decode (RFC 9110, 15.5.16).
pub(crate) fn unsupported() -> Error {
    let message =
        format!("the request's Content-Encoding is not supported where the `model` in a body counts; use {ACCEPTED}, or none");
    Error { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Error::new(Flag::NoRoute, message) }
}
