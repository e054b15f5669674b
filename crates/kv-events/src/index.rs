//! Index of cached blocks, by the tokens from the beginning of the prompt up to the block's end.
//!
//! A record stands for a block and its owner: a publisher's KV cache group. It counts the block's copies in each tier, because engines
//! store and remove the same block more than once. Two tables find records: by the engine's hash, for parents and removals, and by
//! key, for lookups; records of one key are a list.
//!
//! Memory: 24 bytes a record, and 2 places of 5 bytes in tables that are about four fifths full at 10,000,000 records: below 40
//! bytes there, and 47 where tables have just grown. The configured number of records is not exceeded but for a while after it
//! has become lower: a clock hand evicts what has not been used since it last came by.
//!
//! Blocks whose parent is unknown (published before the subscriber came) are left out, since their beginning is unknown.

mod adapters;
mod lookup;
mod publishers;
mod records;
mod tables;
mod token_chain;

use hashbrown::hash_table::Entry;

use self::{
    adapters::Adapters,
    publishers::Publishers,
    records::{NONE, Record, Records},
    tables::Table,
};
pub use self::{
    lookup::CachedPrefix,
    publishers::PublisherId,
    token_chain::{Prompt, PromptImage},
};
use crate::decode::{BlockHash, BlockRemoved, BlockStored, Event, Tier};

/// Most records of any index: their numbers have 32 bits.
const MAX_RECORDS: u32 = 1 << 31;
/// Most records that one new record evicts, so that the index does not wait for long once its bound has become lower.
const MAX_EVICTIONS: u32 = 64;
/// Numbers that each stored event looks at for dead records, beside 2 for each of its blocks.
const SWEEP: u32 = 256;

/// Result of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApplyOutcome {
    /// The index has it, as far as it has use for it.
    Applied,
    /// The engine has cleared its cache.
    Cleared,
    /// Blocks have sizes that the present keys cannot stand for. The index is empty, and all publishers are to be read anew.
    Reset,
}

/// Counts since the index was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexCounters {
    /// Blocks stored, repeated ones included.
    pub stored: u64,
    /// Blocks of unknown parents, or without tokens and unknown.
    pub unknown: u64,
    /// Blocks of kinds that a cached prefix says nothing about, and beyond bounds.
    pub ignored: u64,
    /// Blocks removed by events.
    pub removed: u64,
    /// Records evicted because the index was full.
    pub evicted: u64,
    /// Times that an engine cleared its cache.
    pub clears: u64,
}

/// Tokens that are cached, by publisher.
#[derive(Debug)]
pub struct Index {
    records: Records,
    by_hash: Table,
    by_key: Table,
    publishers: Publishers,
    adapters: Adapters,
    counters: IndexCounters,
    /// Begins all chains: keeps others from making prompts whose keys meet.
    seed: u64,
    /// Tokens of one step of a chain.
    unit: u32,
    max_records: u32,
    /// Number that is looked at next for eviction, and for dead records.
    hand: u32,
    sweep: u32,
}

impl Index {
    /// An empty index of at most so many records (a block of an owner each; at least 1 and at most 2^31).
    pub fn new(seed: u64, max_records: u32) -> Self {
        Self {
            records: Records::new(),
            by_hash: Table::new(),
            by_key: Table::new(),
            publishers: Publishers::default(),
            adapters: Adapters::default(),
            counters: IndexCounters::default(),
            seed,
            unit: token_chain::MAX_UNIT,
            max_records: max_records.clamp(1, MAX_RECORDS),
            hand: 0,
            sweep: 0,
        }
    }

    /// Changes the bound (at least 1, at most 2^31). What is beyond a lower one is evicted as blocks are stored, 64 for each.
    pub fn set_max_records(&mut self, max_records: u32) {
        self.max_records = max_records.clamp(1, MAX_RECORDS);
    }

    /// A new publisher without blocks. `None`: there are 16,384.
    pub fn add_publisher(&mut self) -> Option<PublisherId> {
        self.publishers.add()
    }

    /// Forgets a publisher. Its number may be given again.
    pub fn remove_publisher(&mut self, publisher: PublisherId) {
        self.publishers.remove(publisher);
    }

    /// Forgets a publisher's blocks, at once.
    pub fn clear(&mut self, publisher: PublisherId) {
        self.publishers.clear(publisher);
    }

    /// Whether blocks that a publisher has stored since it was last cleared are missing: evicted, of unknown parents, or beyond bounds.
    pub fn has_lost(&self, publisher: PublisherId) -> bool {
        self.publishers.has_lost(publisher)
    }

    /// Applies an event of a publisher.
    pub fn apply(&mut self, publisher: PublisherId, event: &Event<'_>) -> ApplyOutcome {
        match event {
            Event::Stored(stored) => {
                self.sweep(SWEEP.saturating_add(stored.hashes.len().saturating_mul(2)));
                return self.store(publisher, stored);
            }
            Event::Removed(removed) => self.remove(publisher, removed),
            Event::Cleared => {
                self.counters.clears += 1;
                self.clear(publisher);
                return ApplyOutcome::Cleared;
            }
        }
        ApplyOutcome::Applied
    }

    /// Frees dead records among so many numbers. Returns whether there are more.
    pub fn sweep(&mut self, numbers: u32) -> bool {
        for _ in 0..numbers {
            if self.publishers.dead_records == 0 {
                return false;
            }
            let number = self.sweep;
            self.sweep = (number + 1) % self.records.numbers();
            self.free_if_dead(number);
        }
        self.publishers.dead_records > 0
    }

    /// Records, of blocks that count and of those that are about to be freed.
    pub fn len(&self) -> u32 {
        self.records.used()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether blocks of this LoRA adapter were ever stored, among the first 4,096 adapters.
    pub fn knows_adapter(&self, name: &[u8]) -> bool {
        self.adapters.has(name)
    }

    /// Counts.
    pub fn counters(&self) -> IndexCounters {
        self.counters
    }

    /// Memory of records and tables.
    pub fn memory_bytes(&self) -> usize {
        self.records.memory_bytes() + self.by_hash.memory_bytes() + self.by_key.memory_bytes()
    }

    fn store(&mut self, publisher: PublisherId, event: &BlockStored<'_>) -> ApplyOutcome {
        let blocks = u64::from(event.hashes.len());
        if !event.has_full_attention {
            self.counters.ignored += blocks;
            return ApplyOutcome::Applied;
        }
        if event.has_unnamed_adapter {
            self.counters.ignored += blocks;
            self.publishers.lose(publisher);
            return ApplyOutcome::Applied;
        }
        event.adapter.into_iter().for_each(|adapter| self.adapters.note(adapter));
        if event.tokens.is_empty() {
            self.store_known(publisher, event);
            return ApplyOutcome::Applied;
        }
        let unit = token_chain::unit_of(event.block_size);
        if unit < self.unit {
            self.unit = unit;
            self.publishers.clear_all();
            return ApplyOutcome::Reset;
        }
        let parent = match event.parent {
            None => {
                let root = token_chain::root(self.seed, event.adapter);
                Some((event.cache_salt.map_or(root, |salt| token_chain::fold_text(root, salt)), 0))
            }
            Some(parent) => self.find(publisher, parent, event.group).map(|number| {
                let record = &self.records[number];
                record.touch();
                (record.key, u32::from(record.offset()))
            }),
        };
        let Some((key, offset)) = parent else {
            self.counters.unknown += blocks;
            self.publishers.lose(publisher);
            return ApplyOutcome::Applied;
        };
        match self.publishers.lane(publisher, event.group, event.block_size) {
            Some(lane) => self.store_chain(lane, event, key, offset),
            None => {
                self.counters.ignored += blocks;
                self.publishers.lose(publisher);
            }
        }
        ApplyOutcome::Applied
    }

    /// Stores blocks with their tokens, after a parent of this key that ends at this remainder by 16.
    fn store_chain(&mut self, lane: u16, event: &BlockStored<'_>, mut key: u64, mut offset: u32) {
        let (mut tokens, mut extra_keys) = (event.tokens, event.extra_keys);
        for hash in event.hashes {
            key = token_chain::fold_extra_keys(key, extra_keys.next_block());
            for _ in 0..event.block_size / self.unit {
                key = token_chain::step(key, tokens.by_ref().take(self.unit as usize));
            }
            offset = (offset + event.block_size) % token_chain::MAX_UNIT;
            self.upsert(Record::new(hash, key, lane, offset as u16), event.tier, event.is_reused);
        }
        self.counters.stored += u64::from(event.hashes.len());
    }

    /// Counts further copies of blocks whose tokens are known from an earlier event.
    fn store_known(&mut self, publisher: PublisherId, event: &BlockStored<'_>) {
        for hash in event.hashes {
            match self.find(publisher, hash, event.group) {
                Some(number) => {
                    add_copy(&mut self.records[number], event.tier, event.is_reused);
                    self.counters.stored += 1;
                }
                None => {
                    self.counters.unknown += 1;
                    self.publishers.lose(publisher);
                }
            }
        }
    }

    fn remove(&mut self, publisher: PublisherId, event: &BlockRemoved<'_>) {
        for hash in event.hashes {
            let (records, lanes) = (&self.records, &self.publishers.lanes);
            let found = self.by_hash.find(place_of(publisher, hash), |number| {
                let record = &records[*number];
                let lane = &lanes[usize::from(record.lane)];
                let is_of_group = event.group.is_none_or(|group| group == lane.group);
                record.hash == hash && lane.is_live && lane.publisher == publisher && is_of_group && record.is_held_by(event.tier)
            });
            let Some(number) = found else { continue };
            self.counters.removed += 1;
            if self.records[number].subtract(event.tier) {
                self.free(number);
            }
        }
    }

    /// A publisher's record of this hash, of this group if it has one.
    fn find(&self, publisher: PublisherId, hash: BlockHash, group: u16) -> Option<u32> {
        let find = |group: Option<u16>| {
            self.by_hash.find(place_of(publisher, hash), |number| {
                let record = &self.records[*number];
                let lane = &self.publishers.lanes[usize::from(record.lane)];
                record.hash == hash && lane.is_live && lane.publisher == publisher && group.is_none_or(|group| lane.group == group)
            })
        };
        find(Some(group)).or_else(|| find(None))
    }

    fn first_of_key(&self, key: u64) -> Option<u32> {
        self.by_key.find(key, |number| self.records[*number].key == key)
    }

    /// Adds a copy of a block. A hash that stood for other tokens stands for these from now on: what is known of the others can
    /// no longer be removed by its name.
    fn upsert(&mut self, record: Record, tier: Tier, is_reused: bool) {
        let (hash, lane) = (record.hash, record.lane);
        let publisher = self.publishers.lanes[usize::from(lane)].publisher;
        let place = place_of(publisher, hash);
        let records = &self.records;
        let known = self.by_hash.find(place, |number| records[*number].hash == hash && records[*number].lane == lane);
        let Some(number) = known else {
            return self.insert(record, place, tier);
        };
        if self.records[number].key != record.key {
            if self.publishers.lanes[usize::from(lane)].is_found_at(self.records[number].offset()) {
                self.unlink(number);
            }
            self.records[number].replace(record.key, record.offset());
            self.link(number);
        }
        add_copy(&mut self.records[number], tier, is_reused);
    }

    fn insert(&mut self, mut record: Record, place: u64, tier: Tier) {
        for _ in 0..MAX_EVICTIONS {
            if self.records.used() < self.max_records {
                break;
            }
            self.evict();
        }
        record.add(tier);
        self.publishers.lanes[usize::from(record.lane)].records += 1;
        let number = self.records.insert(record);
        let (records, lanes) = (&self.records, &self.publishers.lanes);
        let hasher = |other: &u32| place_of(lanes[usize::from(records[*other].lane)].publisher, records[*other].hash);
        if let Entry::Vacant(vacant) = self.by_hash.entry(place, |_| false, hasher) {
            vacant.insert(number);
        }
        self.link(number);
    }

    /// Makes a record be found by its key.
    fn link(&mut self, number: u32) {
        let record = &self.records[number];
        if !self.publishers.lanes[usize::from(record.lane)].is_found_at(record.offset()) {
            return;
        }
        let key = record.key;
        let records = &self.records;
        let next = match self.by_key.entry(key, |other| records[*other].key == key, |other| records[*other].key) {
            Entry::Occupied(mut first) => std::mem::replace(first.get_mut(), number),
            Entry::Vacant(vacant) => {
                vacant.insert(number);
                NONE
            }
        };
        self.records[number].next = next;
    }

    fn unlink(&mut self, number: u32) {
        let (key, next) = (self.records[number].key, self.records[number].next);
        let records = &self.records;
        let Some(first) = self.by_key.find_mut(key, |other| records[*other].key == key) else { return };
        if *first == number && next == NONE {
            return self.by_key.remove(key, number);
        }
        if *first == number {
            *first = next;
            return;
        }
        let mut before = *first;
        while self.records[before].next != number {
            before = self.records[before].next;
            if before == NONE {
                return;
            }
        }
        self.records[before].next = next;
    }

    /// Moves the hand to a record that has not been used since it last came by, or is dead, and frees it.
    fn evict(&mut self) {
        loop {
            let number = self.hand;
            self.hand = (number + 1) % self.records.numbers();
            if self.records[number].is_free() {
                continue;
            }
            if self.free_if_dead(number) {
                return;
            }
            if !self.records[number].age() {
                self.counters.evicted += 1;
                self.publishers.lose(self.publishers.lanes[usize::from(self.records[number].lane)].publisher);
                return self.free(number);
            }
        }
    }

    fn free_if_dead(&mut self, number: u32) -> bool {
        let record = &self.records[number];
        let is_dead = !record.is_free() && !self.publishers.lanes[usize::from(record.lane)].is_live;
        if is_dead {
            self.free(number);
        }
        is_dead
    }

    fn free(&mut self, number: u32) {
        let record = &self.records[number];
        let (lane, hash) = (record.lane, record.hash);
        let place = place_of(self.publishers.lanes[usize::from(lane)].publisher, hash);
        if self.publishers.lanes[usize::from(lane)].is_found_at(record.offset()) {
            self.unlink(number);
        }
        self.by_hash.remove(place, number);
        self.publishers.forget_record(lane);
        self.records.free(number);
    }
}

/// An engine that announces again what it holds adds no copy.
fn add_copy(record: &mut Record, tier: Tier, is_reused: bool) {
    if !is_reused || !record.is_held_by(tier) {
        record.add(tier);
    }
}

/// Hash of a publisher's block: the engine's own is no good one in every engine.
fn place_of(publisher: PublisherId, hash: BlockHash) -> u64 {
    let mixed = (hash.0 ^ u64::from(publisher.0).rotate_right(16)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 29
}

#[cfg(test)]
mod tests;
