//! A serving thread's own state.

use std::sync::Arc;

use pailou_auth::TokenCache;

use crate::{context::Context, server, upstream::Upstreams};

/// State of one serving thread alone.
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// Its connections to backends.
    pub upstreams: Upstreams,
    /// Tokens of its clients whose signature was right.
    pub tokens: TokenCache,
    /// Context that all workers share.
    pub context: Arc<Context>,
}

/// A client's connection on a worker.
pub type Connection = server::Connection<Worker>;
