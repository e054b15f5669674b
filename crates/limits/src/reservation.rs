//! Room in a counter, held for a response whose cost is not known yet.

use std::{fmt, sync::Arc};

use crate::counters::{CounterKey, Counters};

/// Room held in a counter. Dropping it gives all of it back, so that nothing is held for a request that failed before it cost anything.
pub struct Reservation {
    pub(crate) counters: Arc<Counters>,
    pub(crate) key: CounterKey,
    /// Begin of the window that the room is held in.
    pub(crate) begin: u64,
    pub(crate) held: u64,
}

impl Reservation {
    /// Charges the cost in place of the room held. A cost that is known only in a later window is charged to that one.
    pub fn settle(mut self, now: u64, cost: u64) {
        let held = std::mem::take(&mut self.held);
        self.counters.settle(&self.key, self.begin, held, Some((now, cost)));
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
