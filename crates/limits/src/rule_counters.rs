//! Counters of one rule.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    Descriptor, Window, WindowKind,
    counters::{Charge, ExpectedCost, Rate},
    lease::{Demand, Lease},
    typical::Typical,
};

/// Counters of one rule at most, as Envoy's local limit has them. More clients than that take each other's places.
const MAX_COUNTERS: usize = 10_000;
/// Counters looked at for one that can go.
const SAMPLE: usize = 8;
/// Counters of one rule.
#[derive(Debug)]
pub(crate) struct RuleCounters {
    pub(crate) name: Arc<str>,
    pub(crate) is_shadow: bool,
    pub(crate) counters: HashMap<Vec<u8>, Counter>,
    /// Cost of a response.
    pub(crate) typical: Typical,
    /// Time of the last search for counters of windows that are over.
    swept: u64,
    /// Counters had to go before their windows were over.
    has_evicted: bool,
}

/// A counter.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub(crate) begin: u64,
    pub(crate) seconds: u64,
    pub(crate) limit: u64,
    pub(crate) spent: u64,
    pub(crate) held: u64,
    /// Share of a counter that several replicas have.
    pub(crate) lease: Option<Box<Lease>>,
}

/// A counter after a charge.
pub(crate) struct Charged {
    pub(crate) rate: Rate,
    /// Begin of the window.
    pub(crate) begin: u64,
    /// Room held for the response, where it costs something.
    pub(crate) held: Option<u64>,
    pub(crate) is_over: bool,
}

impl RuleCounters {
    pub(crate) fn new(charge: &Charge) -> Self {
        let (name, is_shadow) = (charge.name.clone(), charge.is_shadow);
        Self { name, is_shadow, counters: HashMap::new(), typical: Typical::default(), swept: 0, has_evicted: false }
    }

    /// Charges the counter that a charge is for; the inner error is the state of one without room.
    pub(crate) fn charge<E>(
        &mut self,
        now: u64,
        charge: &Charge,
        room: impl FnOnce(&mut Counter, Demand) -> Result<u64, E>,
    ) -> Result<Result<Charged, Rate>, E> {
        let expected = charge.expected.map(|expected| match expected {
            ExpectedCost::Known(cost) => cost.max(1),
            ExpectedCost::Learned(least) => self.typical.get().max(least).max(1),
        });
        self.with_counter(now, &charge.descriptor, charge.window, |counter| counter.charge(now, charge, expected, room))
    }

    pub(crate) fn is_live(&self, now: u64) -> bool {
        self.counters.values().any(|counter| counter.held > 0 || counter.begin + counter.seconds > now)
    }

    /// Has a counter acted on, which begins with that if it is new.
    pub(crate) fn with_counter<T>(
        &mut self,
        now: u64,
        descriptor: &Descriptor,
        window: Window,
        act: impl FnOnce(&mut Counter) -> T,
    ) -> T {
        let bytes = descriptor.as_bytes();
        if let Some(counter) = self.counters.get_mut(bytes) {
            return act(counter);
        }
        if self.counters.len() >= MAX_COUNTERS {
            self.evict(now);
        }
        let mut counter = Counter::new(now, window);
        if self.has_evicted && window.kind == WindowKind::Epoch {
            counter.lease().is_forgotten = true;
        }
        act(self.counters.entry_ref(bytes).or_insert(counter))
    }

    /// Removes counters whose window is over, else the one of a few that has spent least: whoever has spent much stays known.
    fn evict(&mut self, now: u64) {
        // Once a second: who floods a rule with new clients must not have all of them looked through each time.
        if std::mem::replace(&mut self.swept, now) != now {
            self.counters.retain(|_, counter| counter.held > 0 || counter.begin + counter.seconds > now);
            if self.counters.len() < MAX_COUNTERS {
                return;
            }
        }
        self.has_evicted = true;
        let skip = fastrand::usize(..self.counters.len().saturating_sub(SAMPLE).max(1));
        let sample = self.counters.iter().skip(skip).take(SAMPLE);
        let least = sample.min_by_key(|(_, counter)| counter.spent.saturating_add(counter.held)).map(|(bytes, _)| bytes.clone());
        least.map(|bytes| self.counters.remove(&bytes));
    }
}

impl Counter {
    fn new(now: u64, window: Window) -> Self {
        Self { begin: window.begin(now, None), seconds: window.seconds, limit: 0, spent: 0, held: 0, lease: None }
    }

    /// Charges it; the inner error is its state where there is no room.
    fn charge<E>(
        &mut self,
        now: u64,
        charge: &Charge,
        expected: Option<u64>,
        room: impl FnOnce(&mut Self, Demand) -> Result<u64, E>,
    ) -> Result<Result<Charged, Rate>, E> {
        self.limit = charge.limit;
        let least = charge.cost.max(1);
        let demand = Demand { least, all: charge.cost.saturating_add(expected.unwrap_or(0)).max(least) };
        let left = room(self, demand)?;
        let is_over = left == 0 || charge.cost > left;
        if is_over && !charge.is_shadow {
            return Ok(Err(self.rate(now)));
        }
        self.spent = self.spent.saturating_add(charge.cost);
        let held = expected.map(|expected| expected.min(left.saturating_sub(charge.cost)));
        self.held = self.held.saturating_add(held.unwrap_or(0));
        Ok(Ok(Charged { rate: self.rate(now), begin: self.begin, held, is_over }))
    }

    /// Gives room back that was held in the window that began then.
    pub(crate) fn release(&mut self, begin: u64, held: u64) {
        if self.begin == begin {
            self.held = self.held.saturating_sub(held);
        }
    }

    /// Begins a new window where the old one is over. Room that is held in the old one is no matter of the new.
    pub(crate) fn turn(&mut self, now: u64, window: Window) {
        // Only forward: a worker may be late with its time, and a clock may be set back.
        let begin = window.begin(now.max(self.begin), Some(self.begin));
        if begin != self.begin || window.seconds != self.seconds {
            *self = Self { begin, seconds: window.seconds, limit: self.limit, spent: 0, held: 0, lease: None };
        }
    }

    pub(crate) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.spent).saturating_sub(self.held)
    }

    pub(crate) fn rate(&self, now: u64) -> Rate {
        let reset = (self.begin + self.seconds).saturating_sub(now);
        let remaining = if self.lease.is_some() { self.remaining() } else { self.left() };
        Rate { limit: self.limit, seconds: self.seconds, remaining, reset }
    }
}
