//! Beginnings of prompts that are probably in endpoints' KV caches.
//!
//! A prompt is cut into blocks; a block's hash is chained to its predecessor's, so that one hash stands for the whole prompt up to
//! there. Blocks grow with their position (64 bytes, about an engine's 16 tokens, for the first 4 KiB; then 256, 1,024, 4,096):
//! where a prompt is cut depends on nothing but the position, so that a conversation that grows keeps its blocks, and yet 200 KB are
//! some 220 blocks.
//!
//! Every endpoint has an LRU list of the blocks it was sent, at most [`MOST_BLOCKS`] and at most what its engine's cache holds. The
//! index maps blocks to endpoints. A chain is touched from its end to its beginning, so that the end is forgotten first: an
//! endpoint that has a block has all before it.
//!
//! Memory: 24 bytes for a block in the list, 17 to 34 in the list's table, and 25 to 57 in the index: below 3.5 MB for an endpoint
//! whose list is full.

mod chain;
mod lru;
mod slots;

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use foldhash::SharedSeed;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) use self::chain::Chain;
use self::{
    chain::{block_size, covered},
    lru::Lru,
    slots::{Owners, Slots},
};
use crate::{endpoint::PoolEndpoint, new_prompts::NewPromptCount};

/// Blocks remembered for an endpoint: as many as a table of 2^15 buckets takes.
pub(crate) const MOST_BLOCKS: usize = 28_672;
/// Endpoints whose matches take no allocation. Few: all of a pick's figures are moved about.
const MATCHES_IN_PLACE: usize = 16;
/// Locks of the index: more than there are threads to contend for them.
const SHARDS: usize = 64;

/// Seed of hashes of prompts for a model: different models, and different salts, share none.
pub(crate) fn prompt_seed(seed: u64, model: &str, salt: Option<&str>) -> u64 {
    let seed = xxh3_64_with_seed(model.as_bytes(), seed);
    salt.map_or(seed, |salt| xxh3_64_with_seed(salt.as_bytes(), seed))
}

/// An endpoint's list of blocks.
#[derive(Default)]
pub(crate) struct Blocks(Mutex<Lru>);

impl Blocks {
    /// Says how many bytes of prompts fit into the engine's cache.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity = bytes;
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Index of blocks by endpoint.
pub(crate) struct PrefixIndex {
    /// Keep others from making prompts whose hashes meet.
    seed: u64,
    shared_seed: SharedSeed,
    /// Prompts of which it knew less than half.
    pub(crate) new_prompts: NewPromptCount,
    shards: [RwLock<HashMap<u64, Owners, BuildHasherDefault<Hashed>>>; SHARDS],
}

impl PrefixIndex {
    pub(crate) fn new() -> Self {
        Self {
            seed: fastrand::u64(..),
            shared_seed: SharedSeed::from_u64(fastrand::u64(..)),
            new_prompts: NewPromptCount::default(),
            shards: std::array::from_fn(|_| RwLock::default()),
        }
    }

    /// The blocks of a prompt for this model. Different salts share none.
    pub(crate) fn chain(&self, model: &str, salt: Option<&str>, prompt: &[u8]) -> Chain {
        Chain::new(&self.shared_seed, prompt_seed(self.seed, model, salt), prompt)
    }

    /// How much of a prompt each endpoint has.
    ///
    /// An endpoint that has a block has all before it. So blocks between two that the same endpoints have are not looked up.
    pub(crate) fn matches(&self, chain: &Chain) -> Matches {
        let mut matches = Matches::default();
        let Some(first) = chain.0.first() else { return matches };
        let holders = self.shard(*first).read().get(first).map(Owners::slots);
        if let Some(holders) = holders {
            self.match_between(chain, (0, &holders), (chain.0.len(), &Slots::default()), &mut matches);
        }
        matches
    }

    /// Finds where the holders of one block, which are not all holders of a later one, stop. At most nine calls deep.
    fn match_between(&self, chain: &Chain, (from, holders): (usize, &Slots), (to, left): (usize, &Slots), matches: &mut Matches) {
        if to - from == 1 {
            holders.without(left).for_each(|slot| matches.set(slot, covered(to)));
            return;
        }
        let middle = from.midpoint(to);
        let hash = chain.0[middle];
        let mut kept = holders.clone();
        match self.shard(hash).read().get(&hash) {
            Some(owners) => owners.retain_in(&mut kept),
            None => kept.clear(),
        }
        if !kept.is_same(holders) {
            self.match_between(chain, (from, holders), (middle, &kept), matches);
        }
        if !kept.is_same(left) {
            self.match_between(chain, (middle, &kept), (to, left), matches);
        }
    }

    /// Records a prompt that an endpoint gets. Returns how many of its first blocks the endpoint already had.
    pub(crate) fn learn(&self, endpoint: &PoolEndpoint, chain: &Chain) -> usize {
        let mut known = chain.0.len();
        if known == 0 {
            return 0;
        }
        let mut blocks = endpoint.blocks.0.lock();
        if blocks.closed {
            return 0;
        }
        let mut left = &chain.0[..];
        while let [before @ .., hash] = left {
            let touched = blocks.touch_last(left);
            if touched > 0 {
                left = &left[..left.len() - touched];
                continue;
            }
            left = before;
            known = left.len();
            if blocks.len() == MOST_BLOCKS {
                self.evict(&mut blocks, endpoint.slot);
            }
            blocks.insert(*hash, block_size(known) as u32);
            self.shard(*hash)
                .write()
                .entry(*hash)
                .and_modify(|owners| owners.add(endpoint.slot))
                .or_insert(Owners::One(endpoint.slot));
        }
        while blocks.bytes() > blocks.capacity {
            self.evict(&mut blocks, endpoint.slot);
        }
        known
    }

    /// An endpoint did not take a prompt after all: what was learned beyond its first blocks is forgotten.
    pub(crate) fn forget(&self, endpoint: &PoolEndpoint, chain: &Chain, known: usize) {
        if known >= chain.0.len() {
            return;
        }
        let mut blocks = endpoint.blocks.0.lock();
        for hash in &chain.0[known..] {
            if blocks.remove(*hash) {
                self.disown(*hash, endpoint.slot);
            }
        }
    }

    /// An endpoint has lost its cache.
    pub(crate) fn clear(&self, endpoint: &PoolEndpoint) {
        let mut blocks = endpoint.blocks.0.lock();
        while blocks.len() > 0 {
            self.evict(&mut blocks, endpoint.slot);
        }
    }

    /// An endpoint has left: nothing is learned of it any more, and its slot is free.
    pub(crate) fn close(&self, endpoint: &PoolEndpoint) {
        endpoint.blocks.0.lock().closed = true;
        self.clear(endpoint);
        *endpoint.blocks.0.lock() = Lru::closed();
    }

    /// Different blocks known.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    fn evict(&self, blocks: &mut Lru, slot: u16) {
        if let Some(hash) = blocks.pop() {
            self.disown(hash, slot);
        }
    }

    fn disown(&self, hash: u64, slot: u16) {
        let mut shard = self.shard(hash).write();
        if shard.get_mut(&hash).is_some_and(|owners| owners.remove(slot)) {
            shard.remove(&hash);
        }
    }

    /// By bits that the tables within do not place entries by.
    fn shard(&self, hash: u64) -> &RwLock<HashMap<u64, Owners, BuildHasherDefault<Hashed>>> {
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

/// Bytes of a prompt that endpoints have, by slot.
#[derive(Debug, Default)]
pub(crate) struct Matches(SmallVec<[u32; MATCHES_IN_PLACE]>);

impl Matches {
    pub(crate) fn bytes(&self, slot: u16) -> u32 {
        self.0.get(usize::from(slot)).copied().unwrap_or(0)
    }

    fn set(&mut self, slot: u16, bytes: usize) {
        let slot = usize::from(slot);
        if slot >= self.0.len() {
            self.0.resize(slot + 1, 0);
        }
        self.0[slot] = bytes as u32;
    }
}

/// Hashes of what is a hash already.
#[derive(Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
}

#[cfg(test)]
mod tests;
