//! Why a store does not answer.

use std::time::Duration;

use redis::ErrorKind;

/// Why a store does not answer. It shows no credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or refuses.
    #[error("{0}")]
    Redis(#[from] redis::RedisError),
    /// It is silent.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
}

impl Error {
    /// Whether a server answered, with an error: the connection goes on.
    pub(crate) fn is_answer(&self) -> bool {
        let Self::Redis(error) = self else { return false };
        matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::Parse | ErrorKind::UnexpectedReturnType)
    }
}
