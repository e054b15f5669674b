//! Counts of all publishers of a pool, those that have gone included.

use std::time::{SystemTime, UNIX_EPOCH};

use pailou_kv_events::{IngestCounters, SequenceCounters};
use parking_lot::Mutex;

/// Counts of batches and their sequence.
#[derive(Debug, Default)]
pub(super) struct EventCounters(Mutex<(IngestCounters, SequenceCounters)>);

impl EventCounters {
    /// A publisher's counts have become these.
    pub(super) fn ingested(&self, before: IngestCounters, now: IngestCounters) {
        let all = &mut self.0.lock().0;
        all.batches += now.batches - before.batches;
        all.malformed_batches += now.malformed_batches - before.malformed_batches;
        all.events += now.events - before.events;
        all.unknown_events += now.unknown_events - before.unknown_events;
        all.malformed_events += now.malformed_events - before.malformed_events;
    }

    /// The same of its sequence.
    pub(super) fn sequenced(&self, before: SequenceCounters, now: SequenceCounters) {
        if before == now {
            return;
        }
        let all = &mut self.0.lock().1;
        all.restarts += now.restarts - before.restarts;
        all.gaps += now.gaps - before.gaps;
        all.replays += now.replays - before.replays;
        all.failed_replays += now.failed_replays - before.failed_replays;
    }

    pub(super) fn totals(&self) -> (IngestCounters, SequenceCounters) {
        *self.0.lock()
    }
}

/// Seconds that have passed since a time in seconds since 1970; 0 if it is to come.
pub(super) fn seconds_since(time: f64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let age = now - time;
    if age.is_finite() { age.max(0.0) } else { 0.0 }
}
