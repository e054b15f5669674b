//! Hash tables of record numbers, in shards, so that none grows for long while the index waits: a shard of an index of 10,000,000
//! records copies 57,000 entries at most.

use hashbrown::{HashTable, hash_table::Entry};

/// Shards of a table. At 10,000,000 records, four of five places are in use.
const SHARDS: usize = 96;

/// Numbers by the hash of what they stand for. A table knows neither: callers compare and hash.
#[derive(Debug)]
pub(super) struct Table {
    shards: Vec<HashTable<u32>>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect() }
    }

    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(&u32) -> bool) -> Option<u32> {
        self.shards[shard(hash)].find(hash, is_it).copied()
    }

    pub(super) fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&u32) -> bool) -> Option<&mut u32> {
        self.shards[shard(hash)].find_mut(hash, is_it)
    }

    pub(super) fn entry(&mut self, hash: u64, is_it: impl FnMut(&u32) -> bool, hasher: impl Fn(&u32) -> u64) -> Entry<'_, u32> {
        self.shards[shard(hash)].entry(hash, is_it, hasher)
    }

    pub(super) fn remove(&mut self, hash: u64, number: u32) {
        if let Ok(entry) = self.shards[shard(hash)].find_entry(hash, |other| *other == number) {
            entry.remove();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.shards.iter().map(HashTable::allocation_size).sum()
    }
}

/// By bits that shards do not place entries by.
fn shard(hash: u64) -> usize {
    ((u64::from((hash >> 20) as u32) * SHARDS as u64) >> 32) as usize
}
