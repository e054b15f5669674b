//! How an exchange over HTTP/1.1 fails.

use std::io;

use pailou_http1::Malformed;

use crate::body_error::RequestBodyError;

/// Why an exchange over HTTP/1.1 came to no end.
#[derive(Debug, thiserror::Error)]
pub enum Http1Error {
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection ended before the response did.
    #[error("the connection ended too early")]
    Closed,
    /// The response is not HTTP.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The request's own body broke off.
    #[error("{0}")]
    RequestBody(#[source] Box<RequestBodyError>),
}
