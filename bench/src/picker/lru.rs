//! A set of block hashes in the order of their use.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// No entry.
const NONE: u32 = u32::MAX;

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
#[derive(Clone)]
pub(super) struct Lru {
    table: HashedMap<u32>,
    entries: Vec<Entry>,
    newest: u32,
    oldest: u32,
    /// The first of the unused entries, which `older` chains.
    unused: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    newer: u32,
    older: u32,
}

impl Default for Lru {
    fn default() -> Self {
        Self { table: HashedMap::default(), entries: Vec::new(), newest: NONE, oldest: NONE, unused: NONE }
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
        let entry = Entry { hash, newer: NONE, older: self.newest };
        let at = if self.unused == NONE {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            let at = self.unused;
            self.unused = self.entries[at as usize].older;
            self.entries[at as usize] = entry;
            at
        };
        match self.newest {
            NONE => self.oldest = at,
            newest => self.entries[newest as usize].newer = at,
        }
        self.newest = at;
        self.table.insert(hash, at);
        is_new
    }

    /// Removes the oldest.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let hash = self.entries.get(self.oldest as usize)?.hash;
        self.remove(hash);
        Some(hash)
    }

    /// Removes a hash; false if it is not there.
    pub(super) fn remove(&mut self, hash: u64) -> bool {
        let Some(at) = self.table.remove(&hash) else { return false };
        let Entry { newer, older, .. } = self.entries[at as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
        self.entries[at as usize].older = self.unused;
        self.unused = at;
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
