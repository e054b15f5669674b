//! Exact contents of engines' caches: the index of their KV events, for all of a pool, and the subscribers that keep it.
//!
//! A pool says on which port its engines publish. Each endpoint has a task for each of its data-parallel ranks (port + rank), which
//! connects (where a pod has several endpoints, each has one rank of it), keeps the batches in sequence, and applies them. Blocks are forgotten with the connection: an endpoint that cannot be
//! heard has nothing cached for certain.

mod connection;
mod counters;
#[cfg(feature = "simulation")]
mod feed;
mod ranks;
mod replay;
mod subscriber;

use std::collections::HashMap;

use pailou_kv_events::{
    ApplyOutcome, CachedPrefix, Index, IndexCounters, Ingest, IngestBatch, IngestCounters, Prompt, PublisherId, SequenceCounters,
};
use parking_lot::{RwLock, RwLockWriteGuard};
use smallvec::SmallVec;
use tokio::sync::{Semaphore, watch};

use self::counters::EventCounters;
#[cfg(feature = "simulation")]
pub use self::feed::EventFeed;
pub(crate) use self::{ranks::Ranks, subscriber::Subscribers};

/// Blocks that are applied before picks are let in.
const BLOCKS_AT_ONCE: u32 = 256;
/// Most replays of a pool at a time.
const MAX_REPLAYS: usize = 8;

/// A pool's index, for subscribers and picks.
pub(crate) struct KvCache {
    known: RwLock<Known>,
    /// Changes when all publishers are to be read anew.
    resets: watch::Sender<u64>,
    replays: Semaphore,
    counters: EventCounters,
}

/// Figures of a pool's index and its publishers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KvCacheReport {
    pub(crate) blocks: u32,
    /// Publishers all of whose blocks are known; others; those of which nothing is understood.
    pub(crate) complete: u64,
    pub(crate) incomplete: u64,
    pub(crate) mute: u64,
    pub(crate) index: IndexCounters,
    pub(crate) events: IngestCounters,
    pub(crate) sequence: SequenceCounters,
    pub(crate) lag_seconds: f64,
}

struct Known {
    index: Index,
    publishers: HashMap<PublisherId, Publisher>,
}

impl Known {
    /// Whether all that a publisher has told is known, and that is all that it has.
    fn is_complete(&self, id: PublisherId, publisher: &Publisher) -> bool {
        publisher.is_complete && !self.index.has_lost(id)
    }
}

/// An endpoint's rank.
struct Publisher {
    slot: u16,
    /// Whether what is known of it is all that it has told.
    is_complete: bool,
    /// Nothing of what it tells is understood.
    is_mute: bool,
    /// Age of its last live batch as that was applied, by its clock.
    lag_seconds: f64,
}

/// Cached part of a prompt, as an endpoint tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cached {
    /// Tokens from the beginning that its engine has cached.
    pub(crate) tokens: u32,
    /// Whether the engine has told all that it has.
    pub(crate) is_complete: bool,
}

/// Endpoints whose parts take no allocation. Few: they are moved about.
const CACHED_IN_PLACE: usize = 8;

/// Cached parts of a prompt, by the slots of the endpoints that tell them.
#[derive(Debug, Default)]
pub(crate) struct CachedTokens(SmallVec<[Option<Cached>; CACHED_IN_PLACE]>);

impl CachedTokens {
    /// An endpoint's part; `None` if its engine publishes no events.
    pub(crate) fn of(&self, slot: u16) -> Option<Cached> {
        self.0.get(usize::from(slot)).copied().flatten()
    }

    /// Expects at least so many tokens at an endpoint, if its engine publishes events.
    pub(crate) fn expect_tokens(&mut self, slot: u16, tokens: u32) {
        if let Some(Some(cached)) = self.0.get_mut(usize::from(slot)) {
            cached.tokens = cached.tokens.max(tokens);
        }
    }

    /// Adds what one of an endpoint's ranks has told. The best rank counts: an engine sends a request to the rank that has its prefix.
    fn add(&mut self, slot: u16, rank: Cached) {
        let slot = usize::from(slot);
        if slot >= self.0.len() {
            self.0.resize(slot + 1, None);
        }
        let before = self.0[slot].unwrap_or(Cached { tokens: 0, is_complete: true });
        let is_complete = before.is_complete && rank.is_complete;
        self.0[slot] = Some(Cached { tokens: before.tokens.max(rank.tokens), is_complete });
    }
}

impl KvCache {
    /// An empty index of few blocks, until a pool's settings say how many.
    pub(crate) fn new() -> Self {
        let known = Known { index: Index::new(fastrand::u64(..), 1), publishers: HashMap::new() };
        Self {
            known: RwLock::new(known),
            resets: watch::Sender::new(0),
            replays: Semaphore::new(MAX_REPLAYS),
            counters: EventCounters::default(),
        }
    }

    /// Changes the bound of the index.
    pub(crate) fn set_max_blocks(&self, max_blocks: u32) {
        self.known.write().index.set_max_records(max_blocks);
    }

    /// Cached parts of a prompt, as endpoints tell them.
    pub(crate) fn cached_tokens(&self, prompt: &Prompt<'_>) -> CachedTokens {
        let known = self.known.read();
        let mut cached = CachedTokens::default();
        if known.publishers.is_empty() {
            return cached;
        }
        let prefixes = known.index.cached_prefixes(prompt);
        for (id, publisher) in &known.publishers {
            let tokens = prefixes.iter().find(|prefix| prefix.publisher == *id).map_or(0, CachedPrefix::total);
            cached.add(publisher.slot, Cached { tokens, is_complete: known.is_complete(*id, publisher) });
        }
        cached
    }

    /// Whether an endpoint has told all that its engine has cached; `None` if it publishes no events.
    pub(crate) fn is_complete(&self, slot: u16) -> Option<bool> {
        let known = self.known.read();
        let ranks = known.publishers.iter().filter(|(_, publisher)| publisher.slot == slot);
        ranks.map(|(id, rank)| known.is_complete(*id, rank)).reduce(|one, other| one && other)
    }

    /// Whether an event has named this adapter.
    pub(crate) fn knows_adapter(&self, name: &str) -> bool {
        self.known.read().index.knows_adapter(name.as_bytes())
    }

    /// Blocks in the index.
    pub(crate) fn len(&self) -> u32 {
        self.known.read().index.len()
    }

    fn add_publisher(&self, slot: u16) -> Option<PublisherId> {
        let mut known = self.known.write();
        let publisher = known.index.add_publisher()?;
        known.publishers.insert(publisher, Publisher { slot, is_complete: false, is_mute: false, lag_seconds: 0.0 });
        Some(publisher)
    }

    fn remove_publisher(&self, publisher: PublisherId) {
        let mut known = self.known.write();
        known.publishers.remove(&publisher);
        known.index.remove_publisher(publisher);
    }

    /// Hides a publisher from picks, before its subscriber ends and forgets it.
    fn retire(&self, publisher: PublisherId) {
        self.known.write().publishers.remove(&publisher);
    }

    fn clear(&self, publisher: PublisherId) {
        self.known.write().index.clear(publisher);
    }

    /// Applies a batch, and lets picks in between its events, and within those of many blocks. Nothing is decoded under the lock.
    fn apply(&self, publisher: PublisherId, ingest: &mut Ingest, payload: &[u8], is_live: bool) -> ApplyOutcome {
        let before = ingest.counters();
        let batch = ingest.begin(payload);
        let seconds = batch.as_ref().and_then(IngestBatch::seconds).filter(|_| is_live);
        let mut outcome = ApplyOutcome::Applied;
        if let Some(mut batch) = batch {
            while batch.decode_next() {
                let mut known = self.known.write();
                ingest.apply_next(&mut known.index, publisher, &mut batch, BLOCKS_AT_ONCE);
                RwLockWriteGuard::unlock_fair(known);
            }
            outcome = ingest.end(batch);
        }
        let mut known = self.known.write();
        if let Some(publisher) = known.publishers.get_mut(&publisher) {
            publisher.is_mute = ingest.is_mute();
            publisher.lag_seconds = seconds.map_or(publisher.lag_seconds, counters::seconds_since);
        }
        drop(known);
        self.counters.ingested(before, ingest.counters());
        if outcome == ApplyOutcome::Reset {
            self.resets.send_modify(|resets| *resets += 1);
        }
        outcome
    }

    /// Figures for the operator.
    pub(crate) fn report(&self) -> KvCacheReport {
        let (events, sequence) = self.counters.totals();
        let known = self.known.read();
        let mut report = KvCacheReport {
            blocks: known.index.len(),
            index: known.index.counters(),
            events,
            sequence,
            ..KvCacheReport::default()
        };
        for (id, publisher) in &known.publishers {
            match publisher.is_mute {
                true => report.mute += 1,
                false if known.is_complete(*id, publisher) => report.complete += 1,
                false => report.incomplete += 1,
            }
            report.lag_seconds = report.lag_seconds.max(publisher.lag_seconds);
        }
        report
    }

    /// The publisher of an endpoint that has one.
    #[cfg(feature = "simulation")]
    fn publisher_of(&self, slot: u16) -> Option<PublisherId> {
        let known = self.known.read();
        known.publishers.iter().find(|(_, publisher)| publisher.slot == slot).map(|(id, _)| *id)
    }

    fn set_complete(&self, publisher: PublisherId, is_complete: bool) {
        if let Some(publisher) = self.known.write().publishers.get_mut(&publisher) {
            publisher.is_complete = is_complete;
        }
    }
}

#[cfg(test)]
mod tests;
