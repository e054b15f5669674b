//! A picker under test, as the simulation drives it.

use std::{rc::Rc, time::Duration};

use super::{
    kv::KvEvent,
    prompt::Segment,
    replica::{EngineStats, Replica},
};

/// A request that a picker places.
pub(super) struct PickCall<'a> {
    /// Its number in the run.
    pub(super) id: usize,
    pub(super) prompt: &'a [Segment],
    /// The full blocks of prompt and output, and the tokens of the prompt.
    pub(super) blocks: &'a Rc<[u64]>,
    pub(super) prompt_tokens: u32,
    pub(super) adapter: Option<u16>,
    /// The most tokens that the request allows, where it says so.
    pub(super) max_tokens: Option<u32>,
    pub(super) priority: i32,
    /// The tokens that will come: for the omniscient alone.
    pub(super) output: u32,
}

/// A replica that a picker chose, by its number.
pub(super) type ReplicaId = usize;

/// Places requests. Time is that of the simulation.
pub(super) trait EndpointPicker {
    /// A replica; `None` if there is none, or the request waits.
    fn pick(&mut self, call: &PickCall<'_>, replicas: &[Replica], now: Duration) -> Option<ReplicaId>;

    /// Another replica for a request that this one did not take.
    fn fail_over(&mut self, call: &PickCall<'_>, from: ReplicaId, replicas: &[Replica], now: Duration) -> Option<ReplicaId>;

    /// Whether a request waits in the picker, which picks for it later.
    fn is_waiting(&self, _id: usize) -> bool {
        false
    }

    /// Requests whose wait has ended: with a replica, or in vain.
    fn take_dispatched(&mut self, _now: Duration) -> Vec<(usize, Option<ReplicaId>)> {
        Vec::new()
    }

    /// The client gets the first token.
    fn first_token(&mut self, _id: usize, _now: Duration) {}

    /// The request has ended, with so many tokens of its prompt found cached, or failed, and so many tokens generated.
    fn end(&mut self, _id: usize, _cached: Option<u32>, _output: u32, _now: Duration) {}

    /// The pool has these replicas now.
    fn set_members(&mut self, members: &[ReplicaId], now: Duration);

    /// Whether it reads engines' metrics.
    fn scrapes(&self) -> bool {
        false
    }

    /// It asks an engine for its metrics.
    fn begin_scrape(&mut self, _replica: ReplicaId) {}

    /// It has them, or no answer; the pause before it asks again.
    fn end_scrape(&mut self, _replica: ReplicaId, _stats: Option<&EngineStats>, _now: Duration) -> Duration {
        SCRAPE_INTERVAL
    }

    /// Whether it subscribes to changes of engines' caches. The seam for exact picking: events come in order, some time after the step.
    fn subscribes(&self) -> bool {
        false
    }

    /// An engine's cache has changed; `None`: it was lost, as the engine restarted.
    fn take_events(&mut self, _replica: ReplicaId, _events: Option<&[KvEvent]>) {}
}

/// Pause between two scrapes of an engine: llm-d's default, and ours for up to 25 endpoints.
pub(super) const SCRAPE_INTERVAL: Duration = Duration::from_millis(50);
/// Time for which a picker without a memory of failures passes over a replica that did not take a request.
const AVOIDED: Duration = Duration::from_secs(2);

/// The replicas of a pool for pickers that are not ours.
#[derive(Default)]
pub(super) struct PoolMembers {
    members: Vec<ReplicaId>,
    failed_at: Vec<(ReplicaId, Duration)>,
}

impl PoolMembers {
    pub(super) fn set(&mut self, members: &[ReplicaId]) {
        self.members = members.to_vec();
    }

    /// A replica did not take a request.
    pub(super) fn failed(&mut self, replica: ReplicaId, now: Duration) {
        self.failed_at.retain(|(failed, _)| *failed != replica);
        self.failed_at.push((replica, now));
    }

    /// Those to choose from: all if every one has failed.
    pub(super) fn choices(&self, now: Duration) -> Vec<ReplicaId> {
        let has_failed = |replica: &ReplicaId| self.failed_at.iter().any(|(failed, at)| failed == replica && *at + AVOIDED > now);
        let good: Vec<_> = self.members.iter().copied().filter(|replica| !has_failed(replica)).collect();
        if good.is_empty() { self.members.clone() } else { good }
    }
}

/// The choice with the lowest cost; chance decides between equals.
pub(super) fn cheapest(
    choices: &[ReplicaId],
    random: &mut fastrand::Rng,
    mut cost: impl FnMut(ReplicaId) -> f64,
) -> Option<ReplicaId> {
    let mut best: Vec<ReplicaId> = Vec::new();
    let mut lowest = f64::INFINITY;
    for &choice in choices {
        let cost = cost(choice);
        if cost < lowest {
            lowest = cost;
            best.clear();
        }
        if cost <= lowest {
            best.push(choice);
        }
    }
    random.choice(best)
}
