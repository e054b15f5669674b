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
    objects: Vec<&'a BackendTrafficPolicy>,
    settings: Vec<Result<Arc<Traffic>, Problem>>,
    claims: Claims,
    /// By policy: routes whose own policy took its place.
    overridden_by: Vec<BTreeSet<String>>,
    /// By policy: the Gateway's policies that it took the place of, and those that it was merged with.
    replaced: Vec<BTreeSet<usize>>,
    merged: Vec<BTreeSet<usize>>,
    none: Arc<Traffic>,
}

/// Two policies that meet at a rule, by place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Overlap {
    /// The rule's own was merged with the listener's.
    Merged { own: usize, outer: usize },
    /// The rule's own took the place of the listener's.
    Replaced { own: usize, outer: usize, route: String },
}

impl<'a> TrafficPolicies<'a> {
    /// Reads all policies. They have no targets yet.
    pub(crate) fn new(index: &Index<'a>) -> Self {
        let objects: Vec<_> = index.traffic_policies.iter().collect();
        let count = objects.len();
        let settings = objects.iter().map(|policy| Traffic::new(index, policy).map(Arc::new)).collect();
        Self {
            objects,
            settings,
            overridden_by: vec![BTreeSet::new(); count],
            replaced: vec![BTreeSet::new(); count],
            merged: vec![BTreeSet::new(); count],
            ..Self::default()
        }
    }

    /// Distributes the targets.
    pub(crate) fn claim(&mut self, index: &Index<'_>) -> &Claims {
        let asked = self.objects.iter().map(|policy| DeclaredTargets {
            meta: &policy.meta,
            refs: policy.spec.targets(),
            selectors: &policy.spec.target_selectors,
        });
        self.claims = Claims::new(index, TargetKind::ROUTING, asked);
        &self.claims
    }

    /// The policy of a listener.
    pub(crate) fn of_listener(&self, listener: &ListenerName) -> Option<usize> {
        self.claims.of_listener(listener)
    }

    /// The settings of a rule on a listener with this policy; puts the two policies among `overlaps` if the rule has its own. A policy that
    /// cannot be read fails the rule.
    pub(crate) fn effective(
        &self,
        listener: Option<usize>,
        rule: &RouteName,
        overlaps: &mut Vec<Overlap>,
    ) -> Result<Arc<Traffic>, Problem> {
        let (own, outer) = match (self.claims.of_rule(rule), listener) {
            (None, None) => return Ok(self.none.clone()),
            (None, Some(outer)) => return self.settings(outer),
            (Some(own), None) => return self.settings(own),
            (Some(own), Some(outer)) => (own, outer),
        };
        match self.objects[own].spec.merge_type {
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
            Overlap::Merged { own, outer } => drop(self.merged[*own].insert(*outer)),
            Overlap::Replaced { own, outer, route } => {
                self.replaced[*own].insert(*outer);
                self.overridden_by[*outer].insert(route.clone());
            }
        }
    }

    fn settings(&self, place: usize) -> Result<Arc<Traffic>, Problem> {
        self.settings[place].clone()
    }

    /// Writes down every policy's status.
    pub(crate) fn report(&self, reach: &Reach<'_, '_>, statuses: &mut Statuses) {
        for (place, policy) in self.objects.iter().enumerate() {
            let meta = &policy.meta;
            let key = ObjectKey::new(ENVOY_GROUP, "BackendTrafficPolicy", &meta.namespace, &meta.name);
            let conditions = |_: &_| self.conditions(place);
            report(reach, &self.claims, place, (key, meta.generation), conditions, statuses);
        }
    }

    fn conditions(&self, place: usize) -> Vec<Condition> {
        let policy = self.objects[place];
        let generation = policy.meta.generation;
        let problems: Vec<_> = self.settings[place].as_ref().err().cloned().into_iter().collect();
        let mut conditions = vec![Condition::summary("Accepted", &problems, generation)];
        if !problems.is_empty() {
            conditions[0].message.push_str("; every route that the policy applies to answers 500 until it is put right");
        }
        conditions.extend(warnings::unsupported(unenforced::of_traffic(policy), generation));
        let names = |places: &BTreeSet<usize>| {
            places.iter().map(|it| name_of(&self.objects[*it].meta).to_string()).collect::<Vec<_>>().join(", ")
        };
        if !self.overridden_by[place].is_empty() {
            let routes: Vec<_> = self.overridden_by[place].iter().map(String::as_str).collect();
            let message = format!("does not apply to routes that have a policy of their own: {}", routes.join(", "));
            conditions.push(Condition::holds("Overridden", "Overridden", message, generation));
        }
        if !self.merged[place].is_empty() {
            let message = format!("merged with {}", names(&self.merged[place]));
            conditions.push(Condition::holds("Merged", "Merged", message, generation));
        }
        if !self.replaced[place].is_empty() {
            let message = format!(
                "takes the place of {} entirely: what that policy sets does not hold for this one's targets. Set mergeType: \
                 StrategicMerge to keep it",
                names(&self.replaced[place])
            );
            conditions.push(Condition::holds("ReplacesGatewaySettings", "NotMerged", message, generation));
        }
        conditions
    }
}
