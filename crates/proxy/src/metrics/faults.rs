//! Failures by whose doing they are.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    error::{Cause, Flag},
    request_record::RequestRecord,
};

/// Counts of failures by cause. A backend's own error has no flag and counts, too.
#[derive(Debug, Default)]
pub(super) struct Faults([AtomicU64; Cause::ALL.len()]);

impl Faults {
    /// Counts a flag.
    pub(super) fn flagged(&self, flag: Flag) {
        self.count(flag.cause());
    }

    /// Counts a request without a flag that has ended, if its status is an error.
    pub(super) fn settle(&self, record: &RequestRecord) {
        if let Some(cause) = cause_of_status(record) {
            self.count(cause);
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> [(Cause, u64); Cause::ALL.len()] {
        Cause::ALL.map(|cause| (cause, self.0[cause as usize].load(Relaxed)))
    }

    fn count(&self, cause: Cause) {
        self.0[cause as usize].fetch_add(1, Relaxed);
    }
}

/// The party whose doing an error without a flag is. One without an attempt is a filter's, as the configuration wants it.
fn cause_of_status(record: &RequestRecord) -> Option<Cause> {
    match record.status?.as_u16() {
        ..400 => None,
        400..500 => Some(Cause::Client),
        500.. if record.attempts == 0 => Some(Cause::Gateway),
        500.. => Some(Cause::Backend),
    }
}
