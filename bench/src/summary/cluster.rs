//! Results of turns in a cluster.

use serde::Serialize;

use crate::{
    cluster::{Clustered, Part},
    stats::Spread,
};

/// A build's figures in a cluster.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterSummary {
    pub(crate) subject: String,
    /// Milliseconds from a route's creation to its first answer, by half of them and by all but a hundredth.
    pub(crate) p50_ms: Option<Spread>,
    pub(crate) p99_ms: Option<Spread>,
    pub(crate) controller: PartSummary,
    pub(crate) proxy: PartSummary,
}

/// A process's figures.
#[derive(Debug, Serialize)]
pub(crate) struct PartSummary {
    /// Milliseconds of processor time for each route that came.
    pub(crate) cpu_ms: Option<Spread>,
    /// Bytes in memory at the end.
    pub(crate) bytes: Option<Spread>,
    /// Those of them that are no file's.
    pub(crate) anonymous_bytes: Option<Spread>,
}

impl ClusterSummary {
    /// Summaries of all subjects, in the order of turns.
    pub(crate) fn all(turns: &[Clustered]) -> Vec<Self> {
        let mut subjects: Vec<&str> = Vec::new();
        for turn in turns {
            if !subjects.contains(&&*turn.subject) {
                subjects.push(&turn.subject);
            }
        }
        subjects.into_iter().map(|subject| Self::of(turns, subject)).collect()
    }

    fn of(turns: &[Clustered], subject: &str) -> Self {
        let own = || turns.iter().filter(|turn| turn.subject == subject);
        Self {
            subject: subject.to_owned(),
            p50_ms: Spread::of(own().map(|turn| turn.p50_ms)),
            p99_ms: Spread::of(own().map(|turn| turn.p99_ms)),
            controller: PartSummary::of(own().map(|turn| turn.controller)),
            proxy: PartSummary::of(own().map(|turn| turn.proxy)),
        }
    }
}

impl PartSummary {
    fn of(parts: impl Iterator<Item = Part> + Clone) -> Self {
        Self {
            cpu_ms: Spread::of(parts.clone().map(|part| part.cpu_ms)),
            bytes: Spread::of(parts.clone().map(|part| part.bytes as f64)),
            anonymous_bytes: Spread::of(parts.map(|part| part.anonymous_bytes as f64)),
        }
    }
}
