//! Room at endpoints for further requests, and how much of it lower priorities leave to the highest.
//!
//! A request of the highest priority goes before all that wait, but not before those that an engine has taken: it waits behind the engine's
//! queue, and for a batch's steps, which are the longer the fuller the batch is. So others fill engines less, while there are requests of a
//! higher priority.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use pailou_snapshot::{Pool, Queueing};

use crate::load::Load;

/// Waiting requests at which an engine's queue counts as saturated, as upstream.
pub(crate) const QUEUE_LIMIT: f32 = 5.0;
/// The same for requests that leave room to others.
const LOWER_QUEUE_LIMIT: f32 = 1.0;
/// Share of the KV cache above which an endpoint counts as saturated, as upstream.
const KV_LIMIT: f32 = 0.8;
/// Priorities of late that are remembered, the highest.
const MAX_PRIORITIES: usize = 4;
/// Time for which a priority counts as the highest after its last request.
const MEMORY: Duration = Duration::from_secs(60);

/// Bounds below which an endpoint has room for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomLimits {
    queue: f32,
    kv: f32,
    requests: Option<u32>,
}

impl RoomLimits {
    /// Bounds for the most important requests of a pool.
    pub(crate) fn of(pool: &Pool) -> Self {
        let requests = pool.queueing.and_then(|queueing| queueing.max_concurrency);
        Self { queue: QUEUE_LIMIT, kv: KV_LIMIT, requests }
    }

    /// The same for requests that leave so many percent to more important ones.
    pub(crate) fn reserving(self, percent: u8) -> Self {
        if percent == 0 {
            return self;
        }
        let percent = u64::from(percent.min(Queueing::MAX_RESERVE));
        let share = |most: u32| (u64::from(most) * (100 - percent)).div_ceil(100) as u32;
        Self { queue: LOWER_QUEUE_LIMIT, kv: KV_LIMIT * (1.0 - percent as f32 / 100.0), requests: self.requests.map(share) }
    }

    /// Fullness of an endpoint: 1 has no room, as far as its engine tells, or for more requests than these. Capped there: an endpoint with a
    /// long queue does not fill its idle siblings. What an idle engine's KV cache has, it can drop.
    pub(crate) fn saturation(self, load: &Load) -> f32 {
        let Load { waiting, running, certain_kv, .. } = *load;
        let concurrency = self.requests.map_or(0.0, |most| (waiting + running) / most as f32);
        let kv = if waiting + running < 1.0 { 0.0 } else { certain_kv / self.kv };
        (waiting / self.queue).max(kv).max(concurrency).min(1.0)
    }
}

/// Bounds for one request of a pool: all of the room, or what it leaves to a higher priority.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomTerms {
    full: RoomLimits,
    lower: Option<RoomLimits>,
}

impl RoomTerms {
    /// Terms of a request; `is_outranked`: others of a higher priority have come of late.
    pub(crate) fn of(pool: &Pool, is_outranked: bool) -> Self {
        let full = RoomLimits::of(pool);
        let reserve = pool.queueing.map_or(0, |queueing| queueing.reserve);
        Self { full, lower: is_outranked.then(|| full.reserving(reserve)) }
    }

    /// The bounds that count. Beside other gateways all have the same: an engine's load is everybody's, but only those that have seen the
    /// higher priority would leave room, and the others take it.
    pub(crate) fn limits(self, are_others_there: impl FnOnce() -> bool) -> RoomLimits {
        self.lower.filter(|_| !are_others_there()).unwrap_or(self.full)
    }
}

/// The highest priorities among a pool's requests of late, in any order. Each is one word: the second of its last request, 0 for none, and the
/// priority.
#[derive(Debug, Default)]
pub(crate) struct HighestPriorities([AtomicU64; MAX_PRIORITIES]);

impl HighestPriorities {
    /// Whether there was a request of a higher priority than this of late, at a time since the start.
    pub(crate) fn is_outranked(&self, priority: i32, now: Duration) -> bool {
        let now = second(now);
        self.0.iter().map(|word| Noted::of(word.load(Relaxed))).any(|noted| noted.is_recent(now) && noted.priority > priority)
    }

    /// Notes a request of this priority at a time since the start.
    pub(crate) fn note(&self, priority: i32, now: Duration) {
        let now = second(now);
        loop {
            let words: [u64; MAX_PRIORITIES] = std::array::from_fn(|place| self.0[place].load(Relaxed));
            let noted = words.map(Noted::of);
            let same = noted.iter().position(|noted| noted.is_recent(now) && noted.priority == priority);
            let rank = |place: &usize| (noted[*place].is_recent(now), noted[*place].priority);
            let Some(place) = same.or_else(|| (0..MAX_PRIORITIES).min_by_key(rank)) else { return };
            let least = noted[place];
            // Written once a second: all threads come by here.
            if least.is_recent(now) && (least.priority > priority || least.priority == priority && least.second >= now) {
                return;
            }
            let word = u64::from(now) << 32 | u64::from(priority.cast_unsigned());
            if self.0[place].compare_exchange(words[place], word, Relaxed, Relaxed).is_ok() {
                return;
            }
        }
    }
}

/// A priority, and the second of its last request.
#[derive(Clone, Copy)]
struct Noted {
    priority: i32,
    second: u32,
}

impl Noted {
    fn of(word: u64) -> Self {
        Self { priority: (word as u32).cast_signed(), second: (word >> 32) as u32 }
    }

    fn is_recent(self, now: u32) -> bool {
        self.second != 0 && u64::from(now.saturating_sub(self.second)) <= MEMORY.as_secs()
    }
}

/// Number of a second since the start, from 1 on.
fn second(now: Duration) -> u32 {
    (now.as_secs() as u32).saturating_add(1)
}

#[cfg(test)]
mod tests;
