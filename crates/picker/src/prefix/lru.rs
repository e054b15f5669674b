//! A list of blocks, the least recently used first to go.

use std::{collections::HashMap, hash::BuildHasherDefault};

use super::Hashed;

/// No entry.
const NONE: u32 = u32::MAX;

/// Blocks in the order of their use. The caller keeps their number bounded; places of those that went are used again.
pub(super) struct Lru {
    table: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    entries: Vec<Entry>,
    newest: u32,
    oldest: u32,
    /// The first of the unused entries, which are chained by `older`.
    unused: u32,
    bytes: u64,
    /// Most bytes that the blocks may stand for.
    pub(super) capacity: u64,
    /// Nothing is to be added any more.
    pub(super) closed: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    newer: u32,
    older: u32,
    bytes: u32,
}

impl Default for Lru {
    fn default() -> Self {
        Self {
            table: HashMap::default(),
            entries: Vec::new(),
            newest: NONE,
            oldest: NONE,
            unused: NONE,
            bytes: 0,
            capacity: u64::MAX,
            closed: false,
        }
    }
}

impl Lru {
    /// An empty list to which nothing is to be added.
    pub(super) fn closed() -> Self {
        Self { closed: true, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the last of some blocks the newest, and then those before it, as far as each is the next newer one already: blocks of a prompt
    /// that were used together stay so, and are moved as one. Returns how many that were; 0 if the last is not there.
    pub(super) fn touch_last(&mut self, hashes: &[u64]) -> usize {
        let Some((last, before)) = hashes.split_last() else { return 0 };
        let Some(&oldest) = self.table.get(last) else { return 0 };
        let (mut newest, mut count) = (oldest, 1);
        for hash in before.iter().rev() {
            let newer = self.entries[newest as usize].newer;
            if self.entries.get(newer as usize).is_none_or(|entry| entry.hash != *hash) {
                break;
            }
            (newest, count) = (newer, count + 1);
        }
        self.move_up(newest, oldest);
        count
    }

    /// Adds a block that is not there, as the newest.
    pub(super) fn insert(&mut self, hash: u64, bytes: u32) {
        let entry = Entry { hash, newer: NONE, older: NONE, bytes };
        let at = if self.unused == NONE {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            let at = self.unused;
            self.unused = self.entries[at as usize].older;
            self.entries[at as usize] = entry;
            at
        };
        self.table.insert(hash, at);
        self.bytes += u64::from(bytes);
        self.link(at);
    }

    /// Removes the oldest.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let hash = self.entries.get(self.oldest as usize)?.hash;
        self.remove(hash);
        Some(hash)
    }

    /// Removes a block. False if it is not there.
    pub(super) fn remove(&mut self, hash: u64) -> bool {
        let Some(at) = self.table.remove(&hash) else { return false };
        self.unlink(at);
        let entry = &mut self.entries[at as usize];
        self.bytes -= u64::from(entry.bytes);
        entry.older = self.unused;
        self.unused = at;
        true
    }

    fn link(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        entry.newer = NONE;
        entry.older = self.newest;
        match self.newest {
            NONE => self.oldest = at,
            newest => self.entries[newest as usize].newer = at,
        }
        self.newest = at;
    }

    /// Moves a run of blocks before the newest.
    fn move_up(&mut self, newest: u32, oldest: u32) {
        if newest == self.newest {
            return;
        }
        let (newer, older) = (self.entries[newest as usize].newer, self.entries[oldest as usize].older);
        self.entries[newer as usize].older = older;
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
        self.entries[newest as usize].newer = NONE;
        self.entries[oldest as usize].older = self.newest;
        self.entries[self.newest as usize].newer = oldest;
        self.newest = newest;
    }

    fn unlink(&mut self, at: u32) {
        let Entry { newer, older, .. } = self.entries[at as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The blocks, the newest first, and again by their links in the other direction.
    fn order(lru: &Lru) -> [Vec<u64>; 2] {
        let walk = |mut at: u32, next: fn(&Entry) -> u32| {
            let mut hashes = Vec::new();
            while let Some(entry) = lru.entries.get(at as usize) {
                hashes.push(entry.hash);
                at = next(entry);
            }
            hashes
        };
        let mut by_newer = walk(lru.oldest, |entry| entry.newer);
        by_newer.reverse();
        [walk(lru.newest, |entry| entry.older), by_newer]
    }

    proptest! {
        #[test]
        fn blocks_that_are_moved_as_one_are_in_the_order_of_their_use(chains in prop::collection::vec((0..4u64, 1..6u64), 1..12)) {
            let (mut lru, mut expected) = (Lru::default(), Vec::new());
            for (first, length) in chains {
                let chain: Vec<u64> = (first..first + length).collect();
                for hash in chain.iter().rev() {
                    expected.retain(|other| other != hash);
                    expected.insert(0, *hash);
                }
                let mut left = &chain[..];
                while let [before @ .., hash] = left {
                    match lru.touch_last(left) {
                        0 => {
                            lru.insert(*hash, 1);
                            left = before;
                        }
                        touched => left = &left[..left.len() - touched],
                    }
                }
                prop_assert_eq!(order(&lru), [expected.clone(), expected.clone()]);
            }
        }
    }
}
