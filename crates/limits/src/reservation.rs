//! Room in a counter, held for a response whose cost is not known yet.

use std::{fmt, sync::Arc};

use crate::counters::{CounterKey, Counters, SettledCost};

/// Room held in a counter. Dropping it gives all of it back, so that nothing is held for a request that failed before it cost anything.
pub struct Reservation {
    pub(crate) counters: Arc<Counters>,
    /// Apart: a reservation is handed on several times.
    pub(crate) key: Box<CounterKey>,
    /// Begin of the window that the room is held in.
    pub(crate) begin: u64,
    pub(crate) held: u64,
}

impl Reservation {
    /// Charges the cost in place of the room held. A cost that is known only in a later window is charged to that one.
    pub fn settle(self, now: u64, cost: u64) {
        self.charge(SettledCost { now, cost, learned: Some(cost) });
    }

    /// The same for a cost that is computed of a response's size, in output tokens: later reservations follow the size.
    pub fn settle_computed(self, now: u64, cost: u64, output: u64) {
        self.charge(SettledCost { now, cost, learned: Some(output) });
    }

    /// The same for a cost that nobody has counted, or of a response that was cut off: later reservations do not follow it.
    pub fn settle_estimate(self, now: u64, cost: u64) {
        self.charge(SettledCost { now, cost, learned: None });
    }

    fn charge(mut self, cost: SettledCost) {
        let held = std::mem::take(&mut self.held);
        self.counters.settle(&self.key, self.begin, held, Some(cost));
    }

    /// Holds at least this much, for a response that turns out longer than was expected. Room that is held counts as spent, also beyond the
    /// limit. A window that is over holds no more.
    pub fn grow_to(&mut self, cost: u64) {
        let more = cost.saturating_sub(self.held);
        if more > 0 && self.counters.hold(&self.key, self.begin, more) {
            self.held += more;
        }
    }

    /// Room held.
    pub fn held(&self) -> u64 {
        self.held
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.held > 0 {
            self.counters.settle(&self.key, self.begin, self.held, None);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("held", &self.held).finish_non_exhaustive()
    }
}
