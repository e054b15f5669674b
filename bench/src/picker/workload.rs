//! Requests to place: what comes when, and what becomes of the replicas meanwhile.

mod conversation;
mod ladder;
mod saturation;
mod shapes;

use std::{path::Path, sync::Arc, time::Duration};

use clap::ValueEnum;

use super::{policy::ReplicaId, prompt::Segment};
use crate::error::Error;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PickerWorkload {
    /// llm-d's ladder: 150 shared beginnings of 6,000 tokens with 5 questions of 1,200 each, 3 to 60 requests/s.
    Ladder,
    /// Mooncake's trace of conversations, at shares of the cluster's capacity.
    Conversation,
    /// Sessions of agents: every turn repeats the ones before.
    Agents,
    /// 24 adapters, 4 of which fit on a replica.
    Lora,
    /// Bursts of one new prefix beside other requests.
    Bursts,
    /// Replicas that die, start again and join.
    Churn,
    /// Three priorities at up to twice the cluster's capacity.
    Saturation,
}

/// All runs of a workload.
pub(super) struct Scenario {
    /// Heading.
    pub(super) title: &'static str,
    /// Unit of the loads.
    pub(super) unit: &'static str,
    /// Replicas at its beginning.
    pub(super) replicas: usize,
    pub(super) runs: Vec<Run>,
}

/// One run, from an empty cluster to the end of the last request.
#[derive(Clone, Default)]
pub(super) struct Run {
    /// Loads, in the order of their stages.
    pub(super) loads: Vec<f64>,
    /// The first stage whose requests count; those before warm up.
    pub(super) first_stage: usize,
    pub(super) requests: Arc<[RequestSpec]>,
    pub(super) changes: Vec<(Duration, ReplicaId, ReplicaChange)>,
    /// Requests under way at a time, in place of their times: to find out what a cluster can do.
    pub(super) closed: Option<usize>,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct RequestSpec {
    pub(super) start: RequestStart,
    pub(super) stage: usize,
    pub(super) prompt: Vec<Segment>,
    pub(super) output: Segment,
    pub(super) adapter: Option<u16>,
    pub(super) max_tokens: Option<u32>,
    pub(super) priority: i32,
}

/// When a request comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RequestStart {
    /// At this time.
    At(Duration),
    /// So long after the end of an earlier one.
    After(usize, Duration),
}

/// Fate of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplicaChange {
    /// Its process ends.
    Dies,
    /// Its process starts, with nothing cached.
    Starts,
    /// The pool has it from now on.
    Joins,
    /// The pool has it no more.
    Leaves,
}

/// Size of the runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkloadScale {
    pub(super) seed: u64,
    pub(super) replicas: usize,
    /// Share of the requests to run: less for a quick look.
    pub(super) share: f64,
    /// Tokens that the ladder's requests generate.
    pub(super) ladder_output: u32,
}

impl PickerWorkload {
    /// Its runs; `None` where the trace is not given. `capacity` finds out the requests a second of a run whose clients wait for each other.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub(super) fn scenario(
        self,
        scale: &WorkloadScale,
        trace: Option<&Path>,
        capacity: impl FnOnce(&Run) -> Result<f64, Error>,
    ) -> Result<Option<Scenario>, Error> {
        let replicas = scale.replicas;
        let (title, unit, runs) = match self {
            Self::Ladder => ("Ladder of shared prefixes", "requests/s", vec![ladder::run(scale)]),
            Self::Conversation => {
                let Some(path) = trace else { return Ok(None) };
                ("Conversations", "× capacity", conversation::runs(path, scale, capacity)?)
            }
            Self::Agents => ("Agents in many turns", "sessions/s", shapes::agents(scale)),
            Self::Lora => ("LoRA adapters", "requests/s", shapes::lora(scale)),
            Self::Bursts => ("Bursts of a new prefix", "requests in a burst", shapes::bursts(scale)),
            Self::Saturation => ("Three priorities", "× capacity", saturation::runs(scale, capacity)?),
            Self::Churn => ("Replicas that die, start again and join", "requests/s", shapes::churn(scale)),
        };
        Ok(Some(Scenario { title, unit, replicas, runs }))
    }

    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ladder => "ladder",
            Self::Conversation => "conversation",
            Self::Agents => "agents",
            Self::Lora => "lora",
            Self::Bursts => "bursts",
            Self::Churn => "churn",
            Self::Saturation => "saturation",
        }
    }
}

/// Random times and identities of a run's requests.
struct Source {
    random: fastrand::Rng,
    now: f64,
    ids: u64,
}

impl Source {
    fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), now: 0.0, ids: 1 << 32 }
    }

    /// The next arrival of a Poisson process of so many a second.
    fn arrival(&mut self, rate: f64) -> Duration {
        self.now += self.exponential(1.0 / rate);
        Duration::from_secs_f64(self.now)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.random.f64()).ln() * mean
    }

    /// Tokens that are nobody else's.
    fn fresh(&mut self, tokens: u32) -> Segment {
        self.ids += 1;
        Segment { id: self.ids, tokens }
    }
}

#[cfg(test)]
mod tests;
