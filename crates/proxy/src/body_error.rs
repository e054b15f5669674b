//! Failures of a request's body on its way to a backend.

use crate::server::ClientBodyError;

/// Reasons for which a request's body ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The sender broke off, or what it sent is not HTTP.
    #[error("the sender broke off: {0}")]
    Sender(#[from] ClientBodyError),
    /// A mirror's copy fell too far behind the original and was given up.
    #[error("the copy of the request was given up")]
    CopyAbandoned,
    /// The request was answered, or given up, before all of its body had come. As its cause says, an HTTP/2 stream is cancelled.
    #[error("the request was over before its body")]
    Over(#[source] h2::Error),
}
