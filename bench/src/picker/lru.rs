//! A set of block hashes in the order of their use.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::chain::{Chain, Linked, Links};

/// A map by block hashes, which need no further hashing.
pub(super) type HashedMap<V> = HashMap<u64, V, BuildHasherDefault<Identity>>;

/// The hasher of what is a hash already.
#[derive(Clone, Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

/// Hashes, the least recently used first to go. The caller bounds their number.
#[derive(Clone, Default)]
pub(super) struct Lru {
    table: HashedMap<u32>,
    /// Hashes, and places that are free.
    entries: Vec<Entry>,
    free_places: Vec<u32>,
    chain: Chain,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    links: Links,
}

impl Linked for Entry {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl Lru {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        self.table.contains_key(&hash)
    }

    /// Adds a hash or makes it the newest; true if it is new.
    pub(super) fn insert(&mut self, hash: u64) -> bool {
        let is_new = !self.remove(hash);
        let entry = Entry { hash, links: Links::default() };
        let at = match self.free_places.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.chain.link(&mut self.entries, at);
        self.table.insert(hash, at);
        is_new
    }

    /// Removes the oldest.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let hash = self.entries[self.chain.oldest()? as usize].hash;
        self.remove(hash);
        Some(hash)
    }

    /// Removes a hash; false if it is not there.
    pub(super) fn remove(&mut self, hash: u64) -> bool {
        let Some(at) = self.table.remove(&hash) else { return false };
        self.chain.unlink(&mut self.entries, at);
        self.free_places.push(at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut lru = Lru::default();
        assert!([1, 2, 3].into_iter().all(|hash| lru.insert(hash)));
        assert!(!lru.insert(1));
        assert!(lru.remove(3) && !lru.remove(3));
        assert_eq!((lru.pop(), lru.pop(), lru.pop(), lru.len()), (Some(2), Some(1), None, 0));
    }
}
