//! Counts of answers.

use std::{io, time::Duration};

/// Counts of answers since the last call.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers with status 200 that were read to the end.
    pub(crate) requests: u64,
    /// Server-sent events.
    pub(crate) events: u64,
    /// Requests that failed, or were answered otherwise.
    pub(crate) errors: u64,
    /// The first failure.
    pub(crate) first_error: Option<String>,
    /// Nanoseconds from a request's first byte to the end of the answer, or to its first event where it is a stream.
    pub(crate) latencies: Vec<u64>,
}

impl Tally {
    /// Counts an answer.
    pub(super) fn answered(&mut self, latency: Duration) {
        self.requests += 1;
        self.latencies.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a failure.
    pub(super) fn failed(&mut self, error: &io::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }
}
