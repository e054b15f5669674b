//! Records: one for each block and owner, 24 bytes, in pieces that never move.

use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use crate::decode::{BlockHash, Tier};

/// Records in one piece.
const PIECE: usize = 1 << 14;
/// No record.
pub(super) const NONE: u32 = u32::MAX;
/// Lane of a record that is free.
const FREE: u16 = u16::MAX;

/// Bits of a state: how often each tier holds the block (4, 4 and 3 bits), the block's end modulo 16 (4), recent use (1).
const COUNTS: [(u16, u16); 3] = [(0, 15), (4, 15), (8, 7)];
const ANY_COUNT: u16 = 0x07ff;
const OFFSET_SHIFT: u16 = 11;
const RECENT: u16 = 1 << 15;

/// One block that one owner's engine has cached.
#[derive(Debug)]
pub(super) struct Record {
    /// The engine's name for it.
    pub(super) hash: BlockHash,
    /// All tokens up to its end.
    pub(super) key: u64,
    /// The next record of this key, or the next free one.
    pub(super) next: u32,
    pub(super) lane: u16,
    state: AtomicU16,
}

impl Record {
    /// A record that no tier holds yet. `offset` is the block's end modulo 16.
    pub(super) fn new(hash: BlockHash, key: u64, lane: u16, offset: u16) -> Self {
        Self { hash, key, next: NONE, lane, state: AtomicU16::new(offset << OFFSET_SHIFT) }
    }

    pub(super) fn is_free(&self) -> bool {
        self.lane == FREE
    }

    /// The fastest tier that holds the block.
    pub(super) fn best_tier(&self) -> Option<Tier> {
        let state = self.state.load(Relaxed);
        [Tier::Gpu, Tier::Cpu, Tier::Disk].into_iter().find(|tier| count(state, *tier) > 0)
    }

    pub(super) fn offset(&self) -> u16 {
        self.state.load(Relaxed) >> OFFSET_SHIFT & 15
    }

    pub(super) fn is_held_by(&self, tier: Tier) -> bool {
        count(self.state.load(Relaxed), tier) > 0
    }

    /// Counts one more copy in a tier, as far as the count goes. Beyond it a block is forgotten while copies are left: too early
    /// rather than too late.
    pub(super) fn add(&mut self, tier: Tier) {
        let (shift, most) = COUNTS[tier as usize];
        let state = self.state.get_mut();
        if *state >> shift & most < most {
            *state += 1 << shift;
        }
    }

    /// Counts one copy less. Returns whether no tier holds the block any more.
    pub(super) fn subtract(&mut self, tier: Tier) -> bool {
        let (shift, most) = COUNTS[tier as usize];
        let state = self.state.get_mut();
        if *state >> shift & most > 0 {
            *state -= 1 << shift;
        }
        *state & ANY_COUNT == 0
    }

    /// Makes it the record of other tokens, which no tier holds yet.
    pub(super) fn replace(&mut self, key: u64, offset: u16) {
        self.key = key;
        *self.state.get_mut() = offset << OFFSET_SHIFT;
    }

    /// Notes a use, which protects it from the next eviction.
    pub(super) fn touch(&self) {
        let state = self.state.load(Relaxed);
        if state & RECENT == 0 {
            self.state.fetch_or(RECENT, Relaxed);
        }
    }

    /// Takes the protection away. Returns whether there was one.
    pub(super) fn age(&mut self) -> bool {
        let state = self.state.get_mut();
        let was_recent = *state & RECENT != 0;
        *state &= !RECENT;
        was_recent
    }
}

fn count(state: u16, tier: Tier) -> u16 {
    let (shift, most) = COUNTS[tier as usize];
    state >> shift & most
}

/// All records, by number.
#[derive(Debug)]
pub(super) struct Records {
    pieces: Vec<Vec<Record>>,
    first_free: u32,
    used: u32,
}

impl Records {
    pub(super) fn new() -> Self {
        Self { pieces: Vec::new(), first_free: NONE, used: 0 }
    }

    /// Records in use.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Numbers ever given: all records are below.
    pub(super) fn numbers(&self) -> u32 {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len()) as u32
    }

    pub(super) fn find(&self, number: u32) -> Option<&Record> {
        self.pieces.get(number as usize / PIECE)?.get(number as usize % PIECE)
    }

    /// Keeps a record. Returns its number: the one that was given back last, so that blocks that follow each other stay together.
    pub(super) fn insert(&mut self, record: Record) -> u32 {
        self.used += 1;
        if self.first_free != NONE {
            let number = self.first_free;
            let place = &mut self[number];
            let next = place.next;
            *place = record;
            self.first_free = next;
            return number;
        }
        let number = self.numbers();
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(record),
            _ => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(record);
                self.pieces.push(piece);
            }
        }
        number
    }

    /// Gives a number back.
    pub(super) fn free(&mut self, number: u32) {
        let next = self.first_free;
        let record = &mut self[number];
        record.lane = FREE;
        record.next = next;
        self.first_free = number;
        self.used -= 1;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.pieces.len() * (PIECE * size_of::<Record>() + size_of::<Vec<Record>>())
    }
}

impl std::ops::Index<u32> for Records {
    type Output = Record;

    fn index(&self, number: u32) -> &Record {
        &self.pieces[number as usize / PIECE][number as usize % PIECE]
    }
}

impl std::ops::IndexMut<u32> for Records {
    fn index_mut(&mut self, number: u32) -> &mut Record {
        &mut self.pieces[number as usize / PIECE][number as usize % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_24_bytes() {
        assert_eq!(size_of::<Record>(), 24);
    }

    #[test]
    fn tiers_count_apart_and_end_with_the_last_copy() {
        let mut record = Record::new(BlockHash(1), 2, 3, 9);
        for tier in [Tier::Disk, Tier::Cpu, Tier::Cpu, Tier::Gpu] {
            record.add(tier);
        }
        assert_eq!((record.best_tier(), record.offset()), (Some(Tier::Gpu), 9));
        assert!(!record.subtract(Tier::Gpu) && !record.subtract(Tier::Gpu));
        assert_eq!(record.best_tier(), Some(Tier::Cpu));
        assert!(!record.subtract(Tier::Cpu) && !record.subtract(Tier::Cpu));
        assert_eq!((record.best_tier(), record.offset()), (Some(Tier::Disk), 9));
        record.touch();
        assert!(record.subtract(Tier::Disk) && record.best_tier().is_none());
        assert!(record.age() && !record.age());
    }

    #[test]
    fn a_count_stops_at_its_bound_and_touches_no_other() {
        let mut record = Record::new(BlockHash(1), 2, 3, 15);
        (0..100).for_each(|_| record.add(Tier::Disk));
        assert_eq!((record.best_tier(), record.offset()), (Some(Tier::Disk), 15));
        (0..6).for_each(|_| assert!(!record.subtract(Tier::Disk)));
        assert!(record.subtract(Tier::Disk));
    }

    #[test]
    fn a_number_given_back_is_given_again() {
        let mut records = Records::new();
        let record = |hash| Record::new(BlockHash(hash), 0, 0, 0);
        let numbers: Vec<_> = (0..PIECE as u64 + 2).map(|hash| records.insert(record(hash))).collect();
        records.free(numbers[1]);
        assert!(records[numbers[1]].is_free());
        assert_eq!((records.insert(record(7)), records.used()), (numbers[1], PIECE as u32 + 2));
        assert_eq!(records[numbers[PIECE + 1]].hash, BlockHash(PIECE as u64 + 1));
    }
}
