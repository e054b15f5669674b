//! Pickers that know nothing of engines.

use std::{collections::HashMap, time::Duration};

use crate::picker::{
    policy::{EndpointPicker, PickCall, PoolMembers, ReplicaId, cheapest},
    replica::Replica,
};

#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Random,
    RoundRobin,
    LeastRequests,
}

/// A load balancer without metrics.
pub(super) struct Blind {
    rule: Rule,
    random: fastrand::Rng,
    members: PoolMembers,
    turn: usize,
    under_way: HashMap<usize, ReplicaId>,
    /// Requests under way at each replica.
    counts: HashMap<ReplicaId, usize>,
}

impl Blind {
    pub(super) fn new(rule: Rule, random: fastrand::Rng) -> Self {
        Self { rule, random, members: PoolMembers::default(), turn: 0, under_way: HashMap::new(), counts: HashMap::new() }
    }
}

impl EndpointPicker for Blind {
    fn pick(&mut self, call: &PickCall<'_>, _: &[Replica], now: Duration) -> Option<ReplicaId> {
        let choices = self.members.choices(now);
        let picked = match self.rule {
            Rule::Random => cheapest(&choices, &mut self.random, |_| 0.0),
            Rule::RoundRobin => {
                self.turn += 1;
                choices.get(self.turn % choices.len().max(1)).copied()
            }
            Rule::LeastRequests => {
                let counts = &self.counts;
                let count = |replica| counts.get(&replica).copied().unwrap_or(0) as f64;
                cheapest(&choices, &mut self.random, count)
            }
        }?;
        self.under_way.insert(call.id, picked);
        *self.counts.entry(picked).or_default() += 1;
        Some(picked)
    }

    fn fail_over(&mut self, call: &PickCall<'_>, from: ReplicaId, replicas: &[Replica], now: Duration) -> Option<ReplicaId> {
        self.members.failed(from, now);
        self.end(call.id, None, 0, Duration::ZERO);
        self.pick(call, replicas, now)
    }

    fn end(&mut self, id: usize, _: Option<u32>, _: u32, _: Duration) {
        let count = self.under_way.remove(&id).and_then(|replica| self.counts.get_mut(&replica));
        if let Some(count) = count {
            *count -= 1;
        }
    }

    fn set_members(&mut self, members: &[ReplicaId], _: Duration) {
        self.members.set(members);
    }
}
