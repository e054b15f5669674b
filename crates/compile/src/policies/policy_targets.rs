//! Policies of one kind: who wins each target, which of them applies to a rule, how two that meet are merged, and their statuses.

use std::collections::{BTreeSet, HashMap};

use crate::{
    gateway::Gateways,
    ids::{ById, ListenerId, PolicyId},
    index::{Index, TrackedTable, name_of},
    status::{Condition, Problem, Statuses},
    warnings,
};
use pailou_api::{
    ObjectKey, Resource,
    envoy::{ENVOY_GROUP, merge::MergeType},
    refs::{PolicyTargetReference, TargetSelector},
};
use pailou_snapshot::{ListenerName, RouteName};

use super::{
    ancestors::{self, Ancestor, Reach},
    overlap::{Overlap, OverlapOutcome},
    report::report,
    targets::{Claims, DeclaredTargets, Target, TargetKind},
};

/// Spec of a policy of Envoy Gateway that has targets.
pub(crate) trait TargetedSpec: Sized {
    /// Its kind.
    const KIND: &'static str;
    /// Kinds that it can target.
    const TARGETS: &'static [TargetKind];
    /// Consequence of an invalid policy, put after the message of *Accepted*.
    const IF_INVALID: &'static str = "";
    /// Settings that the compiler takes from it.
    type Settings: Clone;

    /// All policies of this kind.
    fn table<'t, 'a>(index: &'t Index<'a>) -> &'t TrackedTable<'a, Resource<Self>>;
    /// `targetRef` and `targetRefs`.
    fn targets(&self) -> Vec<PolicyTargetReference>;
    /// `targetSelectors`.
    fn selectors(&self) -> &[TargetSelector];
    /// `mergeType`.
    fn merge_type(&self) -> Option<MergeType> {
        None
    }
    /// Reads the settings.
    fn read(index: &Index<'_>, policy: &Resource<Self>) -> Result<Self::Settings, Problem>;
    /// Reads the settings of a policy that is merged with its parent. References resolve in the namespace of the policy that has them.
    fn read_merged(
        index: &Index<'_>,
        policy: &Resource<Self>,
        _parent: &Resource<Self>,
        _merge_type: MergeType,
    ) -> Result<Self::Settings, Problem> {
        Self::read(index, policy)
    }
    /// Problems beside that of an unreadable policy.
    fn problems(_settings: &Self::Settings) -> Vec<Problem> {
        Vec::new()
    }
    /// Problems towards the Gateways of these listeners.
    fn problems_on(_settings: &Self::Settings, _reach: &Reach<'_, '_>, _listeners: &[ListenerId]) -> Vec<Problem> {
        Vec::new()
    }
    /// Fields that are set and deprecated, each with the one to use in its place.
    fn deprecated(&self) -> Vec<(&'static str, &'static str)>;
    /// Parts that are done in another way than the object says; its condition `Accepted` names them.
    fn remark(&self) -> Option<String> {
        None
    }
    /// Whether the settings need the key of sessions, to which no field refers.
    fn needs_session_key(&self) -> bool {
        false
    }
    /// Paths below `spec` that are set and not acted on.
    fn unenforced(policy: &Resource<Self>, reach: &Reach<'_, '_>) -> Vec<&'static str>;
}

/// All policies of one kind.
pub(crate) struct PolicyTargets<'a, S: TargetedSpec> {
    policies: ById<PolicyId, PolicyState<'a, S>>,
    claims: Claims,
}

struct PolicyState<'a, S: TargetedSpec> {
    object: &'a Resource<S>,
    settings: Result<S::Settings, Problem>,
    overlaps: Overlaps,
}

/// Policies that a policy meets.
#[derive(Default)]
struct Overlaps {
    /// Targets whose own policy applies in its place.
    overridden_by: BTreeSet<Target>,
    /// Policies of listeners that it applies in place of.
    replaced: BTreeSet<PolicyId>,
    /// Policies of listeners that it is merged with.
    merged_with: BTreeSet<PolicyId>,
    /// Routes whose own policy is merged with it.
    merged_into: BTreeSet<Target>,
    /// Problems of what merging yields.
    problems: BTreeSet<String>,
}

impl<'a, S: TargetedSpec> PolicyTargets<'a, S> {
    /// Reads all policies. They have no targets yet.
    pub(crate) fn new(index: &Index<'a>) -> Self {
        let state = |object| PolicyState { object, settings: S::read(index, object), overlaps: Overlaps::default() };
        Self { policies: S::table(index).iter().map(state).collect(), claims: Claims::default() }
    }

    /// Distributes the targets. Gives the winner of each.
    pub(crate) fn claim(&mut self, index: &Index<'_>) -> &HashMap<Target, PolicyId> {
        let declared = self.policies.iter().map(|(_, state)| DeclaredTargets {
            kind: S::KIND,
            meta: &state.object.meta,
            refs: state.object.spec.targets(),
            selectors: state.object.spec.selectors(),
        });
        self.claims = Claims::new(index, S::TARGETS, declared);
        &self.claims.winners
    }

    /// The winner of each target.
    pub(crate) fn winners(&self) -> &HashMap<Target, PolicyId> {
        &self.claims.winners
    }

    /// The policy of a listener.
    pub(crate) fn of_listener(&self, listener: &ListenerName) -> Option<PolicyId> {
        self.claims.of_listener(listener)
    }

    /// A policy and its settings.
    pub(crate) fn get(&self, id: PolicyId) -> (&'a Resource<S>, &Result<S::Settings, Problem>) {
        let state = &self.policies[id];
        (state.object, &state.settings)
    }

    /// The settings of a rule on a listener with the policy `outer`; `None` if neither has a policy. A rule's policy applies, else its
    /// route's, else the listener's, whole; with a `mergeType` the rule's or route's is merged with the listener's. Puts two policies that
    /// meet among `overlaps`.
    ///
    /// # Errors
    /// The policy that cannot be read, with its problem.
    pub(crate) fn effective(
        &self,
        index: &Index<'_>,
        outer: Option<PolicyId>,
        rule: &RouteName,
        overlaps: &mut Vec<Overlap>,
    ) -> Result<Option<S::Settings>, (&'a Resource<S>, Problem)> {
        let Some(own) = self.claims.of_rule(rule) else { return outer.map(|outer| self.settings(outer)).transpose() };
        let Some(outer) = outer else { return self.settings(own).map(Some) };
        let (policy, parent) = (self.policies[own].object, self.policies[outer].object);
        let (settings, outcome) = match policy.spec.merge_type().filter(|it| *it != MergeType::Replace) {
            Some(merge_type) => match S::read_merged(index, policy, parent, merge_type) {
                Ok(settings) => (Ok(settings), OverlapOutcome::Merged),
                Err(problem) => (Err((policy, problem.clone())), OverlapOutcome::Unmergeable(problem.message)),
            },
            None => (self.settings(own), OverlapOutcome::Replaced),
        };
        let route = Target { kind: TargetKind::of_route(rule.kind), name: rule.name.clone(), section: None };
        overlaps.push(Overlap { own, outer, route, outcome });
        settings.map(Some)
    }

    fn settings(&self, id: PolicyId) -> Result<S::Settings, (&'a Resource<S>, Problem)> {
        let state = &self.policies[id];
        state.settings.clone().map_err(|problem| (state.object, problem))
    }

    /// Notes for the statuses that two policies meet.
    pub(crate) fn overlap(&mut self, overlap: &Overlap) {
        let Overlap { own, outer, route, outcome } = overlap;
        match outcome {
            OverlapOutcome::Replaced => {
                self.policies[*own].overlaps.replaced.insert(*outer);
                self.policies[*outer].overlaps.overridden_by.insert(route.clone());
            }
            OverlapOutcome::Merged => {
                self.policies[*own].overlaps.merged_with.insert(*outer);
                self.policies[*outer].overlaps.merged_into.insert(route.clone());
            }
            OverlapOutcome::Unmergeable(problem) => {
                let parent = name_of(&self.policies[*outer].object.meta);
                self.policies[*own].overlaps.problems.insert(format!("merged with {parent}: {problem}"));
                self.policies[*outer].overlaps.overridden_by.insert(route.clone());
            }
        }
    }

    /// Writes every policy's status.
    pub(crate) fn report(&mut self, reach: &Reach<'_, '_>, statuses: &mut Statuses) {
        self.override_parents(reach.gateways);
        for (id, state) in self.policies.iter() {
            let meta = &state.object.meta;
            let key = ObjectKey::new(ENVOY_GROUP, S::KIND, &meta.namespace, &meta.name);
            let met = [&state.overlaps.overridden_by, &state.overlaps.merged_into].map(|targets| with_listeners(reach, targets));
            let conditions = |ancestor: &Ancestor<'_>| {
                let met_there = met.each_ref().map(|targets| under(ancestor, targets));
                self.conditions(reach, state, ancestor, met_there)
            };
            report(reach, &self.claims, id, (key, meta.generation), conditions, statuses);
        }
    }

    /// Notes which policies do not apply to a section or ListenerSet of their target, as that has its own.
    fn override_parents(&mut self, gateways: &Gateways<'_>) {
        for (target, winner) in &self.claims.winners {
            for outer in parents(target, gateways).iter().filter_map(|parent| self.claims.winners.get(parent)) {
                if outer != winner {
                    self.policies[*outer].overlaps.overridden_by.insert(target.clone());
                }
            }
        }
    }

    /// Its conditions towards an ancestor: of the policies that it meets those count that are on the ancestor's listeners.
    fn conditions(
        &self,
        reach: &Reach<'_, '_>,
        state: &PolicyState<'_, S>,
        ancestor: &Ancestor<'_>,
        [overridden_by, merged_into]: [Vec<&Target>; 2],
    ) -> Vec<Condition> {
        let generation = state.object.meta.generation;
        let outer = ancestor.listeners.iter().filter_map(|listener| self.claims.of_listener(&reach.gateways[*listener].name));
        let outer: BTreeSet<PolicyId> = outer.collect();
        let Overlaps { replaced, merged_with, problems: unmergeable, .. } = &state.overlaps;
        let replaced: Vec<_> = replaced.intersection(&outer).collect();
        let merged_with: Vec<_> = merged_with.intersection(&outer).collect();
        // Problems of settings that hold say themselves what they lead to.
        let is_invalid = state.settings.is_err() || !unmergeable.is_empty();
        let has_outer = |listener: &ListenerId| self.claims.of_listener(&reach.gateways[*listener].name).is_some();
        let is_always_merged = !merged_with.is_empty() && unmergeable.is_empty() && ancestor.listeners.iter().all(has_outer);
        let mut problems = match &state.settings {
            Ok(settings) => {
                let mut problems = S::problems(settings);
                problems.extend(S::problems_on(settings, reach, &ancestor.listeners));
                problems
            }
            // A part that is never served alone need not be whole.
            Err(_) if is_always_merged => Vec::new(),
            Err(problem) => vec![problem.clone()],
        };
        let unmergeable =
            unmergeable.iter().filter(|_| problems.is_empty()).map(|message| Problem::accepted("Invalid", message.clone()));
        problems.extend(unmergeable.collect::<Vec<_>>());
        let mut conditions = vec![Condition::summary("Accepted", &problems, generation)];
        if is_invalid && !problems.is_empty() {
            conditions[0].message.push_str(S::IF_INVALID);
        }
        if let Some(remark) = state.object.spec.remark().filter(|_| problems.is_empty()) {
            conditions[0].message = remark;
        }
        conditions.extend(warnings::unsupported(S::unenforced(state.object, reach), generation));
        conditions.extend(warnings::deprecated(S::deprecated(&state.object.spec), generation));
        if !overridden_by.is_empty() {
            let message = format!("does not apply to targets that have a policy of their own: {}", join(&overridden_by));
            conditions.push(Condition::holds("Overridden", "Overridden", message, generation));
        }
        let mut merged = Vec::new();
        merged.extend((!merged_with.is_empty()).then(|| format!("merged with {}", self.names(&merged_with))));
        merged.extend((!merged_into.is_empty()).then(|| format!("merged with the policies of {}", join(&merged_into))));
        if !merged.is_empty() {
            conditions.push(Condition::holds("Merged", "Merged", merged.join("; "), generation));
        }
        if !replaced.is_empty() {
            let message = format!(
                "takes the place of {} entirely: what that policy sets does not hold for this one's targets. Set mergeType: \
                 StrategicMerge to keep it",
                self.names(&replaced)
            );
            conditions.push(Condition::holds("ReplacesGatewaySettings", "NotMerged", message, generation));
        }
        conditions
    }

    fn names(&self, ids: &[&PolicyId]) -> String {
        ids.iter().map(|id| name_of(&self.policies[**id].object.meta).to_string()).collect::<Vec<_>>().join(", ")
    }
}

fn with_listeners<'t>(reach: &Reach<'_, '_>, targets: &'t BTreeSet<Target>) -> Vec<(&'t Target, Vec<ListenerId>)> {
    targets.iter().map(|target| (target, ancestors::listeners(reach, target))).collect()
}

/// The targets that have a listener of the ancestor.
fn under<'t>(ancestor: &Ancestor<'_>, targets: &[(&'t Target, Vec<ListenerId>)]) -> Vec<&'t Target> {
    let is_under = |listeners: &[ListenerId]| listeners.iter().any(|listener| ancestor.listeners.contains(listener));
    targets.iter().filter(|(_, listeners)| is_under(listeners)).map(|(target, _)| *target).collect()
}

fn join(targets: &[&Target]) -> String {
    targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Targets whose policy a target's own policy overrides: those that a section or a ListenerSet is a part of.
fn parents(target: &Target, gateways: &Gateways<'_>) -> Vec<Target> {
    let whole = target.section.as_ref().map(|_| Target { section: None, ..target.clone() });
    let of_set = |it: &Target| {
        let set = gateways.find_set(&it.name.namespace, &it.name.name)?;
        Some(Target { kind: TargetKind::Gateway, name: gateways[set.gateway].name.clone(), section: None })
    };
    let gateway = (target.kind == TargetKind::ListenerSet).then(|| of_set(target)).flatten();
    whole.into_iter().chain(gateway).collect()
}
