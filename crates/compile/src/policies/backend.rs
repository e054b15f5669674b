//! BackendTrafficPolicy: which applies to a rule, and what that leaves of the others.

use std::{collections::BTreeSet, sync::Arc};

use crate::status::{Condition, Problem, Statuses};
use pailou_api::{
    BackendTrafficPolicy, ObjectKey,
    envoy::{ENVOY_GROUP, merge::MergeType},
};
use pailou_snapshot::{ListenerName, RouteName};

use super::{
    super::{
        ids::{ById, PolicyId},
        index::{Index, name_of},
        warnings,
    },
    report::{Reach, report},
    targets::{Claims, DeclaredTargets, TargetKind},
    traffic::Traffic,
    unenforced,
};

/// All BackendTrafficPolicies.
#[derive(Default)]
pub(crate) struct TrafficPolicies<'a> {
    policies: ById<PolicyId, PolicyState<'a>>,
    claims: Claims,
    none: Arc<Traffic>,
}

struct PolicyState<'a> {
    object: &'a BackendTrafficPolicy,
    settings: Result<Arc<Traffic>, Problem>,
    /// Routes whose own policy took its place.
    overridden_by: BTreeSet<String>,
    /// Policies of listeners that it took the place of.
    replaced: BTreeSet<PolicyId>,
    /// Policies of listeners that it was merged with.
    merged: BTreeSet<PolicyId>,
}

/// Two policies that meet at a rule, by place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Overlap {
    /// The rule's own was merged with the listener's.
    Merged { own: PolicyId, outer: PolicyId },
    /// The rule's own took the place of the listener's.
    Replaced { own: PolicyId, outer: PolicyId, route: String },
}

impl<'a> TrafficPolicies<'a> {
    /// Reads all policies. They have no targets yet.
    pub(crate) fn new(index: &Index<'a>) -> Self {
        let state = |object| PolicyState {
            object,
            settings: Traffic::new(index, object).map(Arc::new),
            overridden_by: BTreeSet::new(),
            replaced: BTreeSet::new(),
            merged: BTreeSet::new(),
        };
        Self { policies: index.traffic_policies.iter().map(state).collect(), ..Self::default() }
    }

    /// Distributes the targets.
    pub(crate) fn claim(&mut self, index: &Index<'_>) -> &Claims {
        let asked = self.policies.iter().map(|(_, it)| it.object).map(|policy| DeclaredTargets {
            meta: &policy.meta,
            refs: policy.spec.targets(),
            selectors: &policy.spec.target_selectors,
        });
        self.claims = Claims::new(index, TargetKind::ROUTING, asked);
        &self.claims
    }

    /// The policy of a listener.
    pub(crate) fn of_listener(&self, listener: &ListenerName) -> Option<PolicyId> {
        self.claims.of_listener(listener)
    }

    /// The settings of a rule on a listener with this policy; puts the two policies among `overlaps` if the rule has its own. A policy that
    /// cannot be read fails the rule.
    pub(crate) fn effective(
        &self,
        listener: Option<PolicyId>,
        rule: &RouteName,
        overlaps: &mut Vec<Overlap>,
    ) -> Result<Arc<Traffic>, Problem> {
        let (own, outer) = match (self.claims.of_rule(rule), listener) {
            (None, None) => return Ok(self.none.clone()),
            (None, Some(outer)) => return self.settings(outer),
            (Some(own), None) => return self.settings(own),
            (Some(own), Some(outer)) => (own, outer),
        };
        match self.policies[own].object.spec.merge_type {
            Some(MergeType::StrategicMerge | MergeType::JsonMerge) => {
                overlaps.push(Overlap::Merged { own, outer });
                Ok(Arc::new(self.settings(own)?.over(&*self.settings(outer)?)))
            }
            Some(MergeType::Replace) | None => {
                let route = format!("{} {}", TargetKind::of_route(rule.kind).name(), rule.name);
                overlaps.push(Overlap::Replaced { own, outer, route });
                self.settings(own)
            }
        }
    }

    /// Notes for the statuses that two policies meet.
    pub(crate) fn overlap(&mut self, overlap: &Overlap) {
        match overlap {
            Overlap::Merged { own, outer } => drop(self.policies[*own].merged.insert(*outer)),
            Overlap::Replaced { own, outer, route } => {
                self.policies[*own].replaced.insert(*outer);
                self.policies[*outer].overridden_by.insert(route.clone());
            }
        }
    }

    fn settings(&self, id: PolicyId) -> Result<Arc<Traffic>, Problem> {
        self.policies[id].settings.clone()
    }

    /// Writes down every policy's status.
    pub(crate) fn report(&self, reach: &Reach<'_, '_>, statuses: &mut Statuses) {
        for (id, state) in self.policies.iter() {
            let meta = &state.object.meta;
            let key = ObjectKey::new(ENVOY_GROUP, "BackendTrafficPolicy", &meta.namespace, &meta.name);
            let conditions = |_: &_| self.conditions(state);
            report(reach, &self.claims, id, (key, meta.generation), conditions, statuses);
        }
    }

    fn conditions(&self, state: &PolicyState<'_>) -> Vec<Condition> {
        let policy = state.object;
        let generation = policy.meta.generation;
        let problems: Vec<_> = state.settings.as_ref().err().cloned().into_iter().collect();
        let mut conditions = vec![Condition::summary("Accepted", &problems, generation)];
        if !problems.is_empty() {
            conditions[0].message.push_str("; every route that the policy applies to answers 500 until it is put right");
        }
        conditions.extend(warnings::unsupported(unenforced::of_traffic(policy), generation));
        let names = |ids: &BTreeSet<PolicyId>| {
            ids.iter().map(|id| name_of(&self.policies[*id].object.meta).to_string()).collect::<Vec<_>>().join(", ")
        };
        if !state.overridden_by.is_empty() {
            let routes: Vec<_> = state.overridden_by.iter().map(String::as_str).collect();
            let message = format!("does not apply to routes that have a policy of their own: {}", routes.join(", "));
            conditions.push(Condition::holds("Overridden", "Overridden", message, generation));
        }
        if !state.merged.is_empty() {
            let message = format!("merged with {}", names(&state.merged));
            conditions.push(Condition::holds("Merged", "Merged", message, generation));
        }
        if !state.replaced.is_empty() {
            let message = format!(
                "takes the place of {} entirely: what that policy sets does not hold for this one's targets. Set mergeType: \
                 StrategicMerge to keep it",
                names(&state.replaced)
            );
            conditions.push(Condition::holds("ReplacesGatewaySettings", "NotMerged", message, generation));
        }
        conditions
    }
}
