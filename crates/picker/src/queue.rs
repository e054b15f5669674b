//! Requests that wait in the gateway while a pool is saturated.
//!
//! One request at a time has the turn: it alone tries to pick. When it is sent, or leaves, the turn goes to the next; when there is no room
//! for it, the turn rests until there may be: a request has ended, a scrape has come or failed, an endpoint has joined. So no room is
//! given twice, however many requests wait and whatever scrapes say, and none stays unused.

mod band;
mod bands;
mod clock;
mod eviction;
mod figures;
mod statistics;
mod waiting;

use std::{
    borrow::Cow,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    net::SocketAddr,
    sync::atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
        fence,
    },
    task::Waker,
    time::{Duration, Instant},
};

use pailou_snapshot::Queueing;
use parking_lot::{Mutex, MutexGuard};

use crate::room::HighestPriorities;

#[cfg(feature = "simulation")]
pub use clock::QueueClock;
#[cfg(not(feature = "simulation"))]
pub(crate) use clock::QueueClock;
pub(crate) use clock::SystemClock;
pub(crate) use eviction::EvictablePlace;
pub use eviction::Eviction;
pub use figures::{QUEUE_GAUGES, QUEUE_OUTCOMES, QUEUE_WAITS, QueueGauge, priority_label};
pub use statistics::{QueueCounts, QueueOutcome};
pub(crate) use waiting::wait;
use {
    bands::{Arrival, Bands, Bounds, Key},
    eviction::Evictables,
    statistics::Statistics,
};

/// Longest fairness id that is told from others, in bytes; what is longer counts by its beginning.
const MAX_FLOW_NAME: usize = 256;

/// Fairness ids of a priority that a report names.
const MAX_REPORTED_FLOWS: usize = 8;

/// Terms on which a request waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueTerms<'a> {
    /// The higher goes first.
    pub priority: i32,
    /// Its fairness id: requests of different ones take turns. `None` shares that of all others without.
    pub flow: Option<&'a str>,
    /// Longest time that it may wait; the pool's timeout bounds it.
    pub timeout: Option<Duration>,
    /// When the time of the request as a whole ends.
    pub deadline: Option<Instant>,
}

/// A pool's waiting requests of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLevel {
    /// The priority.
    pub priority: i32,
    /// Number of them.
    pub requests: u32,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Fairness ids among them.
    pub flows: usize,
    /// Wait of the oldest so far.
    pub oldest_wait: Duration,
}

/// Waiting requests of one fairness id and priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFlow {
    /// The priority.
    pub priority: i32,
    /// The fairness id; `None`: several share the flow, as there are too many to tell them apart.
    pub name: Option<String>,
    /// Number of the requests.
    pub requests: usize,
    /// Wait of the oldest so far.
    pub oldest_wait: Duration,
}

/// State of a pool's queue, for the operator.
#[derive(Clone, Debug, Default)]
pub struct QueueReport {
    /// Priorities that have a request, the highest first.
    pub levels: Vec<QueueLevel>,
    /// The fairness ids with the most requests, at most 8 of each priority.
    pub flows: Vec<QueueFlow>,
    /// Counts since the start by priority, the lowest first; `None` is all priorities beyond the 64 that are counted apart.
    pub counts: Vec<(Option<i32>, QueueCounts)>,
}

/// A pool's queue. It is there whether or not requests wait in this pool.
#[derive(Default)]
pub(crate) struct Queue {
    /// The pool's requests wait, or did once.
    is_on: AtomicBool,
    /// Requests that wait; read without the lock, by every request that ends.
    waiting: AtomicUsize,
    /// Held from a look at the load to the reservation by those that have lost a place to another.
    gate: Mutex<()>,
    evictables: Evictables,
    /// For which lower priorities leave some room.
    pub(crate) highest: HighestPriorities,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bands: Bands<Option<Waker>>,
    /// The request that tries to pick.
    turn: Option<Key>,
    /// There may be room since the turn was given.
    has_news: bool,
    /// The pool had no room for requests of this priority or a lower one, and there is no news since.
    saturated: Option<i32>,
    is_closed: bool,
    statistics: Statistics,
}

/// Next step of a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Try to pick.
    Now,
    /// Wait until it is woken.
    Later,
    /// Give up: the process ends.
    Never,
}

impl Queue {
    /// Requests may wait from now on.
    pub(crate) fn turn_on(&self) {
        self.is_on.store(true, SeqCst);
    }

    /// Requests that wait now.
    pub(crate) fn len(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Holds back others that have lost a place while a request looks for room and takes it.
    pub(crate) fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock()
    }

    /// There may be room, or the load is known anew.
    pub(crate) fn note_room(&self) {
        if !self.is_on.load(Relaxed) {
            return;
        }
        // A request that has just begun to wait sees the room, or is seen here.
        fence(SeqCst);
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.saturated = None;
        let woken = if state.turn.is_some() {
            state.has_news = true;
            None
        } else {
            state.bands.begin_round();
            state.give_turn()
        };
        drop(state);
        wake(woken);
    }

    /// Refuses all that wait or will, as the process ends.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let woken: Vec<_> = state.bands.all_owned().filter_map(Option::take).collect();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn report(&self, now: Instant) -> QueueReport {
        let state = self.state.lock();
        let levels = state.bands.levels().map(|level| QueueLevel {
            priority: level.priority,
            requests: level.requests,
            bytes: level.bytes,
            flows: level.flows,
            oldest_wait: now.saturating_duration_since(level.oldest),
        });
        let counts = state.statistics.all().map(|(priority, counts)| (priority, counts.clone()));
        let flows = state.bands.flows(MAX_REPORTED_FLOWS).map(|(priority, flow, oldest)| QueueFlow {
            priority,
            // A subset of endpoints is told from others behind the name.
            name: flow.name.split('\0').next().filter(|name| !name.is_empty()).map(str::to_owned),
            requests: flow.len(),
            oldest_wait: now.saturating_duration_since(oldest),
        });
        QueueReport { levels: levels.collect(), flows: flows.collect(), counts: counts.collect() }
    }

    /// Adds a request, which may have the turn at once.
    ///
    /// # Errors
    /// There is no room for it: when its client may come again.
    fn push(
        &self,
        terms: &QueueTerms<'_>,
        settings: &Queueing,
        (size, restriction): (Size, Restriction<'_>),
        now: Instant,
    ) -> Result<Key, Duration> {
        let flow = flow_name(terms.flow, restriction.subset);
        let is_restricted = restriction.is_restricted;
        let arrival =
            Arrival { priority: terms.priority, flow: &flow, tokens: size.tokens, bytes: size.bytes, at: now, is_restricted };
        let bounds = Bounds { requests: settings.max_requests, bytes: settings.max_bytes };
        let mut state = self.state.lock();
        let Some(key) = state.bands.push(arrival, bounds, None) else {
            return Err(state.statistics.retry_after(state.bands.ahead_of(terms.priority), now));
        };
        self.waiting.fetch_add(1, SeqCst);
        let woken = state.give_turn();
        drop(state);
        wake(woken);
        fence(SeqCst);
        Ok(key)
    }

    /// Whether a request has the turn; else the waker is woken when it has.
    fn turn_of(&self, key: Key, waker: &Waker) -> Turn {
        let mut state = self.state.lock();
        if state.is_closed {
            return Turn::Never;
        }
        if state.turn == Some(key) {
            return Turn::Now;
        }
        if let Some(owned) = state.bands.owned(key)
            && !owned.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            *owned = Some(waker.clone());
        }
        Turn::Later
    }

    /// The request that has the turn found no room. `is_restricted`: others may find some, as it may not use every endpoint.
    fn put_back(&self, key: Key, is_restricted: bool) {
        let mut state = self.state.lock();
        if state.turn != Some(key) {
            return;
        }
        state.turn = None;
        if std::mem::take(&mut state.has_news) {
            state.bands.begin_round();
        } else if is_restricted {
            state.bands.pass_over(key);
        } else {
            state.saturated = state.saturated.max(state.bands.priority(key));
        }
        let woken = state.give_turn();
        drop(state);
        wake(woken);
    }

    /// Takes a request out that has waited from one time to another, and passes its turn on.
    fn remove(&self, key: Key, priority: i32, outcome: QueueOutcome, (since, now): (Instant, Instant)) {
        let mut state = self.state.lock();
        let removed = match outcome {
            QueueOutcome::Dispatched => state.bands.dispatch(key),
            _ => state.bands.leave(key),
        };
        if removed.is_none() {
            return;
        }
        self.waiting.fetch_sub(1, SeqCst);
        state.statistics.count(priority, outcome, now.saturating_duration_since(since), now);
        if state.turn == Some(key) {
            state.turn = None;
            if std::mem::take(&mut state.has_news) {
                state.bands.begin_round();
            }
        }
        let woken = state.give_turn();
        if state.bands.is_empty() {
            // Nobody hears of news from now on.
            (state.saturated, state.has_news) = (None, false);
        }
        drop(state);
        wake(woken);
    }

    /// Counts a request that was not taken.
    fn refused(&self, priority: i32, outcome: QueueOutcome, now: Instant) {
        self.state.lock().statistics.count(priority, outcome, Duration::ZERO, now);
    }

    /// When a client whose request waited in vain may come again.
    fn retry_after(&self, priority: i32, now: Instant) -> Duration {
        let state = self.state.lock();
        state.statistics.retry_after(state.bands.ahead_of(priority), now)
    }

    fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }
}

impl State {
    /// Gives the turn, where nobody has it, to the request that goes next, unless there is no room for it; gives its waker.
    fn give_turn(&mut self) -> Option<Waker> {
        if self.turn.is_some() {
            return None;
        }
        let next = self.bands.next()?;
        if self.saturated >= self.bands.priority(next) {
            return None;
        }
        self.turn = Some(next);
        self.bands.owned(next)?.take()
    }
}

/// Endpoints that a request may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restriction<'a> {
    /// All that it may use; `None`: every endpoint that its length leaves.
    pub(crate) subset: Option<&'a [SocketAddr]>,
    /// Others may find room where it finds none.
    pub(crate) is_restricted: bool,
}

/// Size of a request that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Its estimated tokens.
    pub(crate) tokens: u64,
    /// Bytes of its body.
    pub(crate) bytes: u64,
}

/// Name of a request's flow. Those restricted to a subset are apart, so that they hold up only each other while it is full.
fn flow_name<'a>(flow: Option<&'a str>, subset: Option<&[SocketAddr]>) -> Cow<'a, str> {
    let flow = flow.map_or(band::DEFAULT_FLOW, |flow| &flow[..flow.floor_char_boundary(MAX_FLOW_NAME)]);
    let Some(subset) = subset else { return flow.into() };
    let hash = |address| BuildHasherDefault::<DefaultHasher>::default().hash_one(address);
    // The same in whatever order they come.
    let hash = subset.iter().map(hash).fold(0, u64::wrapping_add);
    // No header has that character.
    format!("{flow}\0{hash:x}").into()
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests;
