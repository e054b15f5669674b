//! Live batches that wait for a replay.

use std::collections::VecDeque;

/// Most batches in a queue: as many as an engine keeps for replays by default.
const MAX_BATCHES: usize = 10_000;
/// Most bytes in a queue.
const MAX_BYTES: usize = 16 << 20;

/// Batches in the order of their numbers. One beyond the bound is dropped; its number is then missing, and is asked for later.
#[derive(Debug)]
pub(super) struct Queue<P> {
    batches: VecDeque<(u64, P)>,
    bytes: usize,
}

impl<P: AsRef<[u8]>> Queue<P> {
    pub(super) fn new() -> Self {
        Self { batches: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, number: u64, payload: P) {
        let bytes = self.bytes + payload.as_ref().len();
        if self.batches.len() < MAX_BATCHES && bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.batches.push_back((number, payload));
        }
    }

    /// Puts the batch back that was just taken, or one that came while the queue is empty.
    pub(super) fn push_front(&mut self, number: u64, payload: P) {
        self.bytes += payload.as_ref().len();
        self.batches.push_front((number, payload));
    }

    pub(super) fn pop(&mut self) -> Option<(u64, P)> {
        let (number, payload) = self.batches.pop_front()?;
        self.bytes -= payload.as_ref().len();
        Some((number, payload))
    }

    /// Number of the first batch.
    pub(super) fn first(&self) -> Option<u64> {
        self.batches.front().map(|(number, _)| *number)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}
