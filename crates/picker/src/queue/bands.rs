//! Waiting requests in their order, without a clock or IO.
//!
//! The higher priority goes first, always. Among a priority's flows it is deficit round robin by estimated tokens, and within a flow
//! first come, first served.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use super::band::{Band, Flow};

/// A waiting request. Keys grow: the earlier request has the smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(u64);

/// A request that is to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) priority: i32,
    pub(super) flow: &'a str,
    /// Its estimated tokens.
    pub(super) tokens: u64,
    /// Bytes of its body.
    pub(super) bytes: u64,
    pub(super) at: Instant,
    /// It may not use every endpoint.
    pub(super) is_restricted: bool,
}

/// Bounds of each priority.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) requests: u32,
    pub(super) bytes: u64,
}

/// Requests of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BandLevel {
    pub(super) priority: i32,
    pub(super) requests: u32,
    pub(super) bytes: u64,
    pub(super) flows: usize,
    /// When its oldest request came.
    pub(super) oldest: Instant,
}

/// All waiting requests of a pool, each with something of its owner's.
#[derive(Debug)]
pub(super) struct Bands<T> {
    bands: BTreeMap<Reverse<i32>, Band>,
    waiting: HashMap<Key, Waiting<T>>,
    next_key: u64,
    /// Rounds of looking for a request that can go.
    round: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    priority: i32,
    /// Number of its flow.
    flow: u64,
    tokens: u64,
    bytes: u64,
    at: Instant,
    is_restricted: bool,
    owned: T,
}

impl<T> Default for Bands<T> {
    fn default() -> Self {
        Self { bands: BTreeMap::new(), waiting: HashMap::new(), next_key: 0, round: 1 }
    }
}

impl<T> Bands<T> {
    /// Adds a request behind those of its flow; `None` where its priority has no room.
    pub(super) fn push(&mut self, arrival: Arrival<'_>, bounds: Bounds, owned: T) -> Option<Key> {
        let Arrival { priority, flow, tokens, bytes, at, is_restricted } = arrival;
        let (requests, used) = self.bands.get(&Reverse(priority)).map_or((0, 0), |band| (band.requests, band.bytes));
        if requests >= bounds.requests || used.saturating_add(bytes) > bounds.bytes {
            return None;
        }
        let key = Key(self.next_key);
        self.next_key += 1;
        let band = self.bands.entry(Reverse(priority)).or_default();
        (band.requests, band.bytes) = (requests + 1, used + bytes);
        band.restricted += u32::from(is_restricted);
        let flow = band.push(flow, key, key.0);
        self.waiting.insert(key, Waiting { priority, flow, tokens, bytes, at, is_restricted, owned });
        Some(key)
    }

    /// The request that goes next; `None` where none waits, or every flow was passed over in this round. It stays, and is the answer until
    /// something changes.
    pub(super) fn next(&mut self) -> Option<Key> {
        let Self { bands, waiting, round, .. } = self;
        bands.values_mut().find_map(|band| band.next(|key| tokens(waiting, key), *round))
    }

    /// Begins a round in which no flow has been passed over.
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// Leaves out a request, and its flow with it, for the rest of this round.
    pub(super) fn pass_over(&mut self, key: Key) {
        let Some(waiting) = self.waiting.get(&key) else { return };
        if let Some(band) = self.bands.get_mut(&Reverse(waiting.priority)) {
            band.pass_over(waiting.flow, self.round);
        }
    }

    /// Takes out a request that was sent, and charges its flow.
    pub(super) fn dispatch(&mut self, key: Key) -> Option<T> {
        let (priority, flow) = self.waiting.get(&key).map(|it| (it.priority, it.flow))?;
        self.bands.get_mut(&Reverse(priority))?.dispatch(flow, key, |key| tokens(&self.waiting, key));
        self.remove(key)
    }

    /// Takes out a request that waits no more.
    pub(super) fn leave(&mut self, key: Key) -> Option<T> {
        let (priority, flow) = self.waiting.get(&key).map(|it| (it.priority, it.flow))?;
        self.bands.get_mut(&Reverse(priority))?.leave(flow, key);
        self.remove(key)
    }

    /// Counts a request out whose flow has it no more.
    fn remove(&mut self, key: Key) -> Option<T> {
        let waiting = self.waiting.remove(&key)?;
        let band = self.bands.get_mut(&Reverse(waiting.priority))?;
        band.requests -= 1;
        band.restricted -= u32::from(waiting.is_restricted);
        band.bytes -= waiting.bytes;
        if band.requests == 0 {
            self.bands.remove(&Reverse(waiting.priority));
        }
        Some(waiting.owned)
    }

    /// A waiting request's priority.
    pub(super) fn priority(&self, key: Key) -> Option<i32> {
        self.waiting.get(&key).map(|waiting| waiting.priority)
    }

    /// A waiting request's part of its owner's.
    pub(super) fn owned(&mut self, key: Key) -> Option<&mut T> {
        self.waiting.get_mut(&key).map(|waiting| &mut waiting.owned)
    }

    /// The same of all.
    pub(super) fn all_owned(&mut self) -> impl Iterator<Item = &mut T> {
        self.waiting.values_mut().map(|waiting| &mut waiting.owned)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Requests of this priority and of higher ones.
    pub(super) fn ahead_of(&self, priority: i32) -> u64 {
        self.bands.range(..=Reverse(priority)).map(|(_, band)| u64::from(band.requests)).sum()
    }

    /// Those of them that may use every endpoint.
    pub(super) fn unrestricted_ahead_of(&self, priority: i32) -> u64 {
        self.bands.range(..=Reverse(priority)).map(|(_, band)| u64::from(band.requests - band.restricted)).sum()
    }

    /// The flows with the most requests, at most so many of each priority, and when the oldest request of each came.
    pub(super) fn flows(&self, most: usize) -> impl Iterator<Item = (i32, &Flow, Instant)> {
        self.bands.iter().flat_map(move |(Reverse(priority), band)| {
            let deepest = band.deepest(most).into_iter();
            deepest.filter_map(|flow| Some((*priority, flow, self.waiting.get(&flow.head()?)?.at)))
        })
    }

    /// Every priority that has a request, the highest first.
    pub(super) fn levels(&self) -> impl Iterator<Item = BandLevel> {
        self.bands.iter().filter_map(|(Reverse(priority), band)| {
            let heads = band.heads();
            let flows = heads.len();
            let oldest = heads.flatten().filter_map(|key| Some(self.waiting.get(&key)?.at)).min()?;
            Some(BandLevel { priority: *priority, requests: band.requests, bytes: band.bytes, flows, oldest })
        })
    }
}

fn tokens<T>(waiting: &HashMap<Key, Waiting<T>>, key: Key) -> u64 {
    waiting.get(&key).map_or(0, |it| it.tokens)
}

#[cfg(test)]
mod tests;
