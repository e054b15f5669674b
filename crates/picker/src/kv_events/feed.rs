//! Events that a simulator gives, by the way that subscribers' take.

use std::sync::Arc;

use pailou_kv_events::{Ingest, PublisherId};

use super::KvCache;

/// Way of one engine's KV events into the index. The engine's own subscriber must not run beside it.
#[expect(missing_debug_implementations, reason = "an index is too large to print")]
pub struct EventFeed {
    cache: Arc<KvCache>,
    publisher: PublisherId,
    ingest: Ingest,
}

impl EventFeed {
    /// That of an endpoint with one rank, all of whose blocks count as told. `None`: it publishes no events.
    pub(crate) fn new(cache: &Arc<KvCache>, slot: u16) -> Option<Self> {
        let publisher = cache.publisher_of(slot)?;
        cache.set_complete(publisher, true);
        Some(Self { cache: Arc::clone(cache), publisher, ingest: Ingest::default() })
    }

    /// Applies a batch, as engines publish it.
    pub fn apply(&mut self, payload: &[u8]) {
        self.cache.apply(self.publisher, &mut self.ingest, payload, false);
    }

    /// The engine has started anew, with nothing cached.
    pub fn restart(&mut self) {
        self.cache.clear(self.publisher);
    }
}
