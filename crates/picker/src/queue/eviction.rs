//! Requests under way that are broken off for more important ones which wait.
//!
//! Source of the numbers and the order: llm-d.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::Queue;

/// Most requests that one decision breaks off.
const MAX_EVICTIONS: u64 = 2;
/// Time that a decision has to show an effect before the next.
const GRACE: Duration = Duration::from_millis(500);

/// Order of eviction: the lowest priority first, then the newest.
type Order = (i32, Reverse<u64>);

/// Requests under way that may be evicted.
#[derive(Debug, Default)]
pub(super) struct Evictables(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    requests: BTreeMap<Order, Arc<Eviction>>,
    next: u64,
    /// Those that were told and have not gone yet.
    leaving: u64,
    last_decision: Option<Instant>,
}

/// Signal to a request under way that it is to give up its place. It is given once.
#[derive(Debug, Default)]
pub struct Eviction {
    is_given: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Eviction {
    /// Whether the signal was given; else the task of this context is woken when it is. One task listens at a time.
    pub fn poll_given(&self, context: &Context<'_>) -> bool {
        if self.is_given.load(SeqCst) {
            return true;
        }
        let mut waker = self.waker.lock();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        drop(waker);
        self.is_given.load(SeqCst)
    }

    fn give(&self) {
        self.is_given.store(true, SeqCst);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Evictables {
    /// Requests of a lower priority than this to break off now, with their priorities, as so many wait for room.
    fn decide(&self, priority: i32, waiting: u64, now: Instant) -> Vec<(i32, Arc<Eviction>)> {
        let mut state = self.0.lock();
        let is_early = state.last_decision.is_some_and(|last| now.saturating_duration_since(last) < GRACE);
        let wanted = waiting.saturating_sub(state.leaving).min(MAX_EVICTIONS);
        let mut chosen = Vec::new();
        while !is_early && (chosen.len() as u64) < wanted {
            let Some(first) = state.requests.first_entry().filter(|first| first.key().0 < priority) else { break };
            let ((priority, _), eviction) = first.remove_entry();
            chosen.push((priority, eviction));
        }
        if !chosen.is_empty() {
            state.leaving += chosen.len() as u64;
            state.last_decision = Some(now);
        }
        chosen
    }
}

/// A request's place among those that may be evicted; its drop takes it out.
pub(crate) struct EvictablePlace {
    queue: Arc<Queue>,
    order: Order,
    eviction: Arc<Eviction>,
}

impl EvictablePlace {
    /// Puts a request of this priority in.
    pub(crate) fn new(queue: &Arc<Queue>, priority: i32) -> Self {
        let eviction = Arc::new(Eviction::default());
        let mut state = queue.evictables.0.lock();
        let order = (priority, Reverse(state.next));
        state.next += 1;
        state.requests.insert(order, eviction.clone());
        drop(state);
        Self { queue: queue.clone(), order, eviction }
    }

    /// The signal to give its place up.
    pub(crate) fn eviction(&self) -> &Arc<Eviction> {
        &self.eviction
    }
}

impl Drop for EvictablePlace {
    fn drop(&mut self) {
        let mut state = self.queue.evictables.0.lock();
        if state.requests.remove(&self.order).is_none() {
            state.leaving -= 1;
        }
    }
}

impl Queue {
    /// Breaks requests of lower and negative priority off for those of this and higher ones that wait for any endpoint, of which none had room.
    pub(super) fn evict_for(&self, priority: i32, now: Instant) {
        let waiting = self.state.lock().bands.unrestricted_ahead_of(priority);
        let chosen = self.evictables.decide(priority, waiting, now);
        if chosen.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        chosen
            .iter()
            .for_each(|(priority, _)| state.statistics.count(*priority, super::QueueOutcome::Evicted, Duration::ZERO, now));
        drop(state);
        chosen.iter().for_each(|(_, eviction)| eviction.give());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(places: &[EvictablePlace]) -> Vec<bool> {
        places.iter().map(|place| place.eviction.is_given.load(SeqCst)).collect()
    }

    #[test]
    fn the_lowest_priority_goes_first_then_the_newest_and_no_more_than_two_at_once() {
        let queue = Arc::<Queue>::default();
        let mut places: Vec<_> = [-1, -5, -5, -1].map(|priority| EvictablePlace::new(&queue, priority)).into();
        let start = Instant::now();
        let decide = |priority, waiting, after| {
            let chosen = queue.evictables.decide(priority, waiting, start + after);
            chosen.iter().for_each(|(_, eviction)| eviction.give());
            chosen.len()
        };
        assert_eq!(decide(0, 1, Duration::ZERO), 1);
        assert_eq!(given(&places), [false, false, true, false]);
        assert_eq!(decide(0, 9, Duration::from_millis(499)), 0, "the first has not shown an effect");
        assert_eq!(decide(0, 1, GRACE), 0, "one that waits has one that leaves");
        assert_eq!(decide(-5, 9, GRACE), 0, "none is of a lower priority");
        assert_eq!(decide(0, 9, GRACE), 2);
        assert_eq!(given(&places), [false, true, true, true]);
        places.truncate(1);
        assert_eq!(queue.evictables.0.lock().leaving, 0, "a guard counts each one out");
        assert_eq!(decide(0, 9, 2 * GRACE), 1);
        drop(places);
        let state = queue.evictables.0.lock();
        assert!(state.requests.is_empty() && state.leaving == 0);
    }
}
