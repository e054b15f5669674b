//! Results of starts and idle streams.

use serde::Serialize;

use super::keys;
use crate::{footprint::Footprint, stats::Spread, workload::Workload};

/// A subject's start and memory.
#[derive(Debug, Serialize)]
pub(crate) struct FootprintSummary {
    pub(crate) workload: Workload,
    pub(crate) subject: String,
    /// Milliseconds to the first answer.
    pub(crate) start_ms: Option<Spread>,
    /// Bytes in memory after that.
    pub(crate) idle_bytes: Option<Spread>,
    /// Those of them that are no file's.
    pub(crate) anonymous_bytes: Option<Spread>,
    /// Streams that were opened, the most in a round.
    pub(crate) streams: Option<u32>,
    /// Bytes in memory with them.
    pub(crate) held_bytes: Option<Spread>,
    /// Bytes for each of them.
    pub(crate) bytes_per_stream: Option<Spread>,
}

impl FootprintSummary {
    /// Summaries of all subjects under all workloads, in the order of workloads and of turns.
    pub(crate) fn all(footprints: &[Footprint]) -> Vec<Self> {
        let keys = keys(footprints.iter().map(|footprint| (footprint.workload, &*footprint.subject)));
        keys.into_iter()
            .map(|(workload, subject)| {
                let own = || footprints.iter().filter(move |other| other.workload == workload && other.subject == subject);
                Self {
                    workload,
                    subject: subject.to_owned(),
                    start_ms: Spread::of(own().map(|footprint| footprint.start_ms)),
                    idle_bytes: Spread::of(own().map(|footprint| footprint.idle_bytes as f64)),
                    anonymous_bytes: Spread::of(own().map(|footprint| footprint.anonymous_bytes as f64)),
                    streams: own().filter_map(|footprint| Some(footprint.held?.streams)).max(),
                    held_bytes: Spread::of(own().filter_map(|footprint| Some(footprint.held?.bytes as f64))),
                    bytes_per_stream: Spread::of(own().filter_map(Footprint::bytes_per_stream)),
                }
            })
            .collect()
    }
}
