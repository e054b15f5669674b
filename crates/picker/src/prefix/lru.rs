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

    /// Makes a block the newest. False if it is not there.
    pub(super) fn touch(&mut self, hash: u64) -> bool {
        let Some(&at) = self.table.get(&hash) else { return false };
        if at != self.newest {
            self.unlink(at);
            self.link(at);
        }
        true
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
