//! Why a store does not answer.

use std::time::Duration;

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
