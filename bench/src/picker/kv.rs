//! An engine's KV cache: blocks with reference counts, a prefix cache in the order of use, and a tier in the host's memory.
//!
//! A block is known by its hash, so that two requests that compute the same block at a time keep one of it, while vLLM keeps
//! both until one is freed. Requests release their blocks from the last to the first: the engine evicts ends before beginnings, and a
//! cache that has a block has all before it.

use std::ops::Range;

use super::{
    chain::{Chain, Linked, Links},
    lru::{HashedMap, Lru},
};

/// A change of the blocks that an engine has on its GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KvEvent {
    /// The engine stores a block that follows another, or begins a prompt.
    Stored { hash: u64, parent: Option<u64> },
    /// The engine evicts a block.
    Removed(u64),
}

/// The blocks of one engine.
#[derive(Clone)]
pub(super) struct KvCache {
    capacity: u32,
    host_capacity: usize,
    /// Places of blocks by their hashes: one look finds out all of a block.
    places: HashedMap<u32>,
    /// Full blocks, and places that are free.
    blocks: Vec<Block>,
    free_places: Vec<u32>,
    /// Full blocks in use.
    held: u32,
    /// Blocks in use that are not full, so that nobody can share them.
    partial: u32,
    /// Blocks that no request uses, by the time of their use.
    unused: Chain,
    host: Lru,
    /// Changes since the last [`KvCache::take_events`].
    events: Vec<KvEvent>,
}

/// A full block on the GPU.
#[derive(Clone, Copy)]
struct Block {
    hash: u64,
    /// Requests that use it.
    holders: u32,
    /// Its neighbours, where none does.
    links: Links,
}

impl Linked for Block {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// Blocks at the beginning of a prompt that an engine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hit {
    /// On its GPU.
    pub(super) gpu: u32,
    /// In its host's memory, following those.
    pub(super) host: u32,
}

impl KvCache {
    /// An empty cache of so many blocks on the GPU and in the host's memory.
    pub(super) fn new(capacity: u32, host_capacity: usize) -> Self {
        Self {
            capacity,
            host_capacity,
            places: HashedMap::default(),
            blocks: Vec::new(),
            free_places: Vec::new(),
            held: 0,
            partial: 0,
            unused: Chain::default(),
            host: Lru::default(),
            events: Vec::new(),
        }
    }

    /// Blocks in use.
    pub(super) fn used(&self) -> u32 {
        self.held + self.partial
    }

    /// Blocks that no request uses.
    pub(super) fn free(&self) -> u32 {
        self.capacity - self.used()
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The blocks of a prompt that can be had without computing them.
    pub(super) fn hit(&self, blocks: &[u64]) -> Hit {
        let gpu = blocks.partition_point(|hash| self.has(*hash));
        let host = blocks[gpu..].iter().take_while(|hash| self.host.contains(**hash)).count();
        Hit { gpu: gpu as u32, host: host as u32 }
    }

    /// Whether the engine has a block on its GPU.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.places.contains_key(&hash)
    }

    /// Blocks of these that are not in use: so many free blocks it takes to hold them.
    pub(super) fn not_in_use(&self, blocks: &[u64]) -> u32 {
        let is_held = |hash: &u64| self.places.get(hash).is_some_and(|place| self.blocks[*place as usize].holders > 0);
        // As with [`KvCache::has`], a block in use has all before it in use.
        (blocks.len() - blocks.partition_point(is_held)) as u32
    }

    /// Holds full blocks of a request, from one place in its blocks to another. There must be as many free ones as are not in use.
    pub(super) fn hold(&mut self, blocks: &[u64], places: Range<u32>) {
        for place in places.start as usize..places.end as usize {
            self.hold_block(blocks[place], place.checked_sub(1).map(|before| blocks[before]));
        }
    }

    fn hold_block(&mut self, hash: u64, parent: Option<u64>) {
        if let Some(&place) = self.places.get(&hash) {
            if self.blocks[place as usize].holders == 0 {
                self.unused.unlink(&mut self.blocks, place);
                self.held += 1;
            }
            self.blocks[place as usize].holders += 1;
            return;
        }
        self.make_room();
        self.events.push(KvEvent::Stored { hash, parent });
        let block = Block { hash, holders: 1, links: Links::default() };
        let place = match self.free_places.pop() {
            Some(place) => {
                self.blocks[place as usize] = block;
                place
            }
            None => {
                self.blocks.push(block);
                (self.blocks.len() - 1) as u32
            }
        };
        self.places.insert(hash, place);
        self.held += 1;
    }

    /// Holds a block that is not full. There must be a free one.
    pub(super) fn hold_partial(&mut self) {
        self.make_room();
        self.partial += 1;
    }

    /// Gives back a block that is not full.
    pub(super) fn release_partial(&mut self) {
        self.partial -= 1;
    }

    /// Gives back a request's full blocks; they stay cached until room is needed.
    pub(super) fn release(&mut self, blocks: &[u64]) {
        for hash in blocks.iter().rev() {
            let Some(&place) = self.places.get(hash) else { continue };
            let block = &mut self.blocks[place as usize];
            block.holders -= 1;
            if block.holders == 0 {
                self.held -= 1;
                self.unused.link(&mut self.blocks, place);
            }
        }
    }

    /// Marks blocks in the host's memory as used.
    pub(super) fn touch_host(&mut self, blocks: &[u64]) {
        for hash in blocks.iter().rev() {
            self.host.insert(*hash);
        }
    }

    /// The changes since the last call.
    pub(super) fn take_events(&mut self) -> Vec<KvEvent> {
        std::mem::take(&mut self.events)
    }

    /// Evicts the least recently used block if none is empty.
    fn make_room(&mut self) {
        if self.places.len() as u32 + self.partial < self.capacity {
            return;
        }
        let Some(place) = self.unused.oldest() else { return };
        let evicted = self.blocks[place as usize].hash;
        self.unused.unlink(&mut self.blocks, place);
        self.places.remove(&evicted);
        self.free_places.push(place);
        self.events.push(KvEvent::Removed(evicted));
        if self.host_capacity > 0 {
            self.host.insert(evicted);
            if self.host.len() > self.host_capacity {
                self.host.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_least_recently_used_prompt_goes_first() {
        let mut kv = KvCache::new(4, 0);
        for prompt in [&[1, 2][..], &[11, 12]] {
            kv.hold(prompt, 0..2);
            kv.release(prompt);
        }
        assert_eq!((kv.used(), kv.free()), (0, 4));
        kv.hold(&[21], 0..1);
        assert_eq!((kv.hit(&[1, 2]).gpu, kv.hit(&[11, 12]).gpu, kv.used()), (1, 2, 1));
        assert_eq!(kv.take_events().last(), Some(&KvEvent::Stored { hash: 21, parent: None }));
    }

    #[test]
    fn blocks_in_use_are_shared_and_stay() {
        let mut kv = KvCache::new(2, 0);
        kv.hold(&[1], 0..1);
        kv.hold(&[1, 2], 0..2);
        kv.release(&[1, 2]);
        assert_eq!((kv.used(), kv.not_in_use(&[1, 2])), (1, 1));
        kv.hold_partial();
        assert_eq!((kv.hit(&[1, 2]), kv.free()), (Hit { gpu: 1, host: 0 }, 0));
        kv.release_partial();
        kv.release(&[1]);
        assert_eq!(kv.used(), 0);
    }

    #[test]
    fn evicted_blocks_are_found_in_the_hosts_memory() {
        let mut kv = KvCache::new(2, 2);
        for prompt in [&[1, 2][..], &[11, 12]] {
            kv.hold(prompt, 0..2);
            kv.release(prompt);
        }
        assert_eq!(kv.hit(&[1, 2]), Hit { gpu: 0, host: 2 });
    }
}
