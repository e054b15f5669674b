use std::{collections::HashMap, ops::Range};

/// No slot: the end of the free list.
const NIL: u32 = u32::MAX;

/// The KV cache: a fixed number of blocks, shared between sequences by content.
///
/// A block that nobody holds stays findable by its hash until it is handed out again; the free list is ordered by
/// last use, so what goes first is what has been idle longest.
pub(super) struct BlockPool {
    block_size: u32,
    slots: Vec<Slot>,
    /// Full blocks by chained hash, held or idle. Bounded by the number of slots.
    cached: HashMap<u64, u32>,
    /// The free list's ends: the cache takes blocks at the head and gives them back at the tail.
    head: u32,
    tail: u32,
    free: u32,
    /// Hashes that can no longer be found since they were last taken, if they are noted.
    removed: Option<Vec<u64>>,
}

#[derive(Clone)]
struct Slot {
    hash: Option<u64>,
    holders: u32,
    prev: u32,
    next: u32,
}

impl BlockPool {
    pub(super) fn new(block_size: u32, blocks: u32) -> Self {
        let vacant = Slot { hash: None, holders: 0, prev: NIL, next: NIL };
        let (slots, cached) = (vec![vacant; blocks as usize], HashMap::new());
        let mut pool = BlockPool { block_size, slots, cached, head: NIL, tail: NIL, free: 0, removed: None };
        for slot in 0..blocks {
            pool.push_free(slot);
        }
        pool
    }

    /// Notes from now on which hashes can no longer be found.
    pub(super) fn note_removals(&mut self) {
        self.removed = Some(Vec::new());
    }

    /// Hashes that can no longer be found since this was last called.
    pub(super) fn take_removed(&mut self) -> Vec<u64> {
        self.removed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Makes all blocks unfindable. Changes nothing and says false while one is held.
    pub(super) fn reset(&mut self) -> bool {
        if self.in_use() > 0 {
            return false;
        }
        self.cached.clear();
        self.slots.iter_mut().for_each(|slot| slot.hash = None);
        true
    }

    pub(super) fn in_use(&self) -> u32 {
        self.slots.len() as u32 - self.free
    }

    /// Takes hold of the longest run of `hashes` that is cached, from the first one on.
    pub(super) fn acquire_prefix(&mut self, hashes: &[u64]) -> Vec<u32> {
        let mut held = Vec::new();
        for hash in hashes {
            let Some(&slot) = self.cached.get(hash) else { break };
            if self.slots[slot as usize].holders == 0 {
                self.unlink(slot);
            }
            self.slots[slot as usize].holders += 1;
            held.push(slot);
        }
        held
    }

    /// Adds blocks to `held` until it has room for `tokens`. Takes nothing and says false when there are not enough.
    pub(super) fn grow(&mut self, held: &mut Vec<u32>, tokens: u32) -> bool {
        let missing = tokens.div_ceil(self.block_size).saturating_sub(held.len() as u32);
        if missing > self.free {
            return false;
        }
        for _ in 0..missing {
            let slot = self.head;
            self.unlink(slot);
            self.slots[slot as usize].holders = 1;
            if let Some(hash) = self.slots[slot as usize].hash.take() {
                self.cached.remove(&hash);
                if let Some(removed) = &mut self.removed {
                    removed.push(hash);
                }
            }
            held.push(slot);
        }
        true
    }

    /// Makes the blocks that became full findable: `held[from..to]`, whose hashes are `hashes[from..to]`. Returns those that
    /// could not be found before.
    pub(super) fn publish(&mut self, held: &[u32], hashes: &[u64], from: usize, to: usize) -> Vec<Range<usize>> {
        let to = to.min(held.len()).min(hashes.len());
        let mut new: Vec<Range<usize>> = Vec::new();
        for index in from..to {
            // A block with this content may exist already, computed beside this one; the first stays.
            let std::collections::hash_map::Entry::Vacant(entry) = self.cached.entry(hashes[index]) else { continue };
            entry.insert(held[index]);
            self.slots[held[index] as usize].hash = Some(hashes[index]);
            match new.last_mut() {
                Some(run) if run.end == index => run.end = index + 1,
                _ => new.push(index..index + 1),
            }
        }
        new
    }

    /// Lets go of `held`. Its last block is idle longest, so a prefix is eaten away from its end.
    pub(super) fn release(&mut self, held: &mut Vec<u32>) {
        while let Some(slot) = held.pop() {
            self.slots[slot as usize].holders -= 1;
            if self.slots[slot as usize].holders == 0 {
                self.push_free(slot);
            }
        }
    }

    /// Hashes that can be found.
    #[cfg(test)]
    pub(super) fn findable(&self) -> std::collections::BTreeSet<u64> {
        self.cached.keys().copied().collect()
    }

    fn push_free(&mut self, slot: u32) {
        self.slots[slot as usize].prev = self.tail;
        self.slots[slot as usize].next = NIL;
        match self.tail {
            NIL => self.head = slot,
            tail => self.slots[tail as usize].next = slot,
        }
        self.tail = slot;
        self.free += 1;
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { prev, next, .. } = self.slots[slot as usize];
        match prev {
            NIL => self.head = next,
            prev => self.slots[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => self.slots[next as usize].prev = prev,
        }
        self.free -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_block_is_evicted_first() {
        let mut pool = BlockPool::new(4, 2);
        for hash in [1, 2] {
            let mut held = Vec::new();
            assert!(pool.grow(&mut held, 4));
            pool.publish(&held, &[hash], 0, 1);
            pool.release(&mut held);
        }
        // Using 1 again makes 2 the oldest.
        let mut held = pool.acquire_prefix(&[1]);
        assert_eq!(held.len(), 1);
        pool.release(&mut held);
        let mut other = Vec::new();
        assert!(pool.grow(&mut other, 4));
        assert!(pool.acquire_prefix(&[2]).is_empty());
        assert_eq!(pool.acquire_prefix(&[1]).len(), 1);
    }

    #[test]
    fn blocks_that_come_and_go_are_told_once() {
        let mut pool = BlockPool::new(4, 3);
        pool.note_removals();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        assert!(pool.grow(&mut first, 4) && pool.grow(&mut second, 8));
        assert_eq!(pool.publish(&first, &[1], 0, 1), vec![Range { start: 0, end: 1 }]);
        assert_eq!(pool.publish(&second, &[1, 2], 0, 2), vec![Range { start: 1, end: 2 }]);
        assert!(!pool.reset());
        pool.release(&mut first);
        pool.release(&mut second);
        assert!(pool.grow(&mut first, 4) && pool.take_removed() == [1] && pool.take_removed().is_empty());
        pool.release(&mut first);
        assert!(pool.reset() && pool.acquire_prefix(&[2]).is_empty());
    }

    #[test]
    fn a_failed_grow_takes_nothing() {
        let mut pool = BlockPool::new(4, 2);
        let mut held = Vec::new();
        assert!(!pool.grow(&mut held, 9));
        assert_eq!((held.len(), pool.in_use()), (0, 0));
    }

    #[test]
    fn shared_blocks_are_free_only_when_the_last_holder_lets_go() {
        let mut pool = BlockPool::new(4, 3);
        let mut first = Vec::new();
        assert!(pool.grow(&mut first, 8));
        pool.publish(&first, &[7, 8], 0, 2);
        let mut second = pool.acquire_prefix(&[7, 8, 9]);
        assert_eq!(second, first);
        pool.release(&mut first);
        assert_eq!(pool.in_use(), 2);
        pool.release(&mut second);
        assert_eq!(pool.in_use(), 0);
    }
}
