//! Room at endpoints for further requests, and how much of it lower priorities leave to the highest.
//!
//! A request of the highest priority goes before all that wait, but not before those that an engine has taken: it waits behind the engine's
//! queue, and for a batch's steps, which are the longer the fuller the batch is. So others fill engines less, while there are requests of a
//! higher priority.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use pailou_snapshot::Pool;

use crate::load::Load;

/// Waiting requests at which an engine's queue counts as saturated, as upstream.
pub(crate) const QUEUE_LIMIT: f32 = 5.0;
/// The same for requests that leave room to others.
const LOWER_QUEUE_LIMIT: f32 = 1.0;
/// Share of the KV cache above which an endpoint counts as saturated, as upstream.
const KV_LIMIT: f32 = 0.8;
/// Time for which a priority counts as the highest after its last request.
const MEMORY: Duration = Duration::from_secs(60);

/// Bounds below which an endpoint has room for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomLimits {
    queue: f32,
    kv: f32,
    requests: Option<f32>,
}

impl RoomLimits {
    /// Bounds for the most important requests of a pool.
    pub(crate) fn of(pool: &Pool) -> Self {
        let requests = pool.queueing.and_then(|queueing| queueing.max_concurrency).map(|most| most as f32);
        Self { queue: QUEUE_LIMIT, kv: KV_LIMIT, requests }
    }

    /// The same for requests that leave so many percent to more important ones.
    pub(crate) fn reserving(self, percent: u8) -> Self {
        if percent == 0 {
            return self;
        }
        let share = 1.0 - f32::from(percent) / 100.0;
        Self { queue: LOWER_QUEUE_LIMIT, kv: KV_LIMIT * share, requests: self.requests.map(|most| (most * share).ceil()) }
    }

    /// Fullness of an endpoint: 1 has no room, as far as its engine tells, or for more requests than these. Capped there: an endpoint with a
    /// long queue does not fill its idle siblings. What an idle engine's KV cache has, it can drop.
    pub(crate) fn saturation(self, load: &Load) -> f32 {
        let Load { waiting, running, certain_kv, .. } = *load;
        let concurrency = self.requests.map_or(0.0, |most| (waiting + running) / most);
        let kv = if waiting + running < 1.0 { 0.0 } else { certain_kv / self.kv };
        (waiting / self.queue).max(kv).max(concurrency).min(1.0)
    }
}

/// The highest priority among a pool's requests of late. One word: the second of its last request, and the priority.
#[derive(Debug, Default)]
pub(crate) struct HighestPriority(AtomicU64);

impl HighestPriority {
    /// Notes a request of this priority at a time since the start; whether another of late had a higher one.
    pub(crate) fn note(&self, priority: i32, now: Duration) -> bool {
        // 0 is none.
        let now = now.as_secs() as u32 + 1;
        let packed = self.0.load(Relaxed);
        let (highest, last) = ((packed as u32).cast_signed(), (packed >> 32) as u32);
        let is_known = last != 0 && u64::from(now.saturating_sub(last)) <= MEMORY.as_secs();
        if is_known && highest > priority {
            return true;
        }
        // Written once a second: all threads come by here.
        if !is_known || highest < priority || last < now {
            self.0.store(u64::from(now) << 32 | u64::from(priority.cast_unsigned()), Relaxed);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RoomLimits = RoomLimits { queue: QUEUE_LIMIT, kv: KV_LIMIT, requests: Some(4.0) };

    #[test]
    fn a_cache_in_use_fills_an_endpoint_unless_it_has_no_request() {
        let saturation = |running| LIMITS.saturation(&Load { running, certain_kv: 0.95, ..Load::default() });
        assert_eq!((saturation(0.0), saturation(1.0)), (0.0, 1.0));
    }

    #[test]
    fn requests_that_leave_room_fill_less_of_an_endpoint() {
        let is_full = |load: Load, reserve| LIMITS.reserving(reserve).saturation(&load) >= 1.0;
        let loads = [
            Load { running: 3.0, ..Load::default() },
            Load { running: 1.0, certain_kv: 0.6, ..Load::default() },
            Load { running: 1.0, waiting: 1.0, ..Load::default() },
        ];
        for load in loads {
            assert_eq!((is_full(load, 0), is_full(load, 25)), (false, true), "{load:?}");
        }
        assert!(!is_full(Load { running: 2.0, certain_kv: 0.59, ..Load::default() }, 25));
        assert!(!RoomLimits { requests: Some(1.0), ..LIMITS }.reserving(90).saturation(&Load::default()).ge(&1.0));
    }

    #[test]
    fn a_priority_is_the_highest_for_a_minute_after_its_last_request() {
        let highest = HighestPriority::default();
        let at = Duration::from_secs;
        assert!(!highest.note(-1, at(0)), "none was higher");
        assert!(!highest.note(1, at(1)) && highest.note(0, at(1)) && highest.note(-1, at(61)));
        assert!(!highest.note(1, at(30)), "it lasts from here");
        assert!(highest.note(0, at(90)));
        assert!(!highest.note(0, at(91)));
        assert!(highest.note(-1, at(92)));
    }
}
