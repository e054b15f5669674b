//! Prompts that are held for other engines, by vLLM's protocol: until they are fetched, or for 30 s.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::exchange::lost;
use crate::reply::ApiError;

/// Time for which a prompt is held.
const LEASE: Duration = Duration::from_secs(30);
/// Prompts that are held at the same time.
const MAX_HELD: usize = 65_536;

/// By the request that they are of: tokens, and the end of the lease.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<String, (u32, Instant)>>);

impl Held {
    pub(super) fn put(&self, request: &str, tokens: u32) -> Result<(), ApiError> {
        let mut held = self.0.lock();
        let now = Instant::now();
        held.retain(|_, (_, until)| *until > now);
        if held.len() >= MAX_HELD {
            return Err(lost("too many prompts wait for other engines"));
        }
        held.insert(request.to_owned(), (tokens, now + LEASE));
        Ok(())
    }

    pub(super) fn take(&self, request: &str) -> Option<u32> {
        let (tokens, until) = self.0.lock().remove(request)?;
        (until > Instant::now()).then_some(tokens)
    }

    pub(super) fn len(&self) -> usize {
        let now = Instant::now();
        self.0.lock().values().filter(|(_, until)| *until > now).count()
    }
}
