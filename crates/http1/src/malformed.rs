//! Messages that are not HTTP.

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// By our own account.
    #[error("{0}")]
    Message(&'static str),
    /// By that of the parser of heads and trailers.
    #[error("{0}")]
    Fields(#[from] httparse::Error),
}
