//! Statuses of policies: an entry for each Gateway, ListenerSet or section that a policy reaches.

use std::collections::BTreeMap;

use crate::status::{AncestorStatus, Condition, ConditionStatus, SectionReference, Severity, StatusBody, Statuses};
use pailou_api::ObjectKey;

use super::{
    super::ids::PolicyId,
    ancestors::{self, Ancestor, Reach},
    targets::{ClaimOutcome, Claims},
};

/// The most ancestors that a status may list.
const MAX_ANCESTORS: usize = 16;

/// Ancestors on their way into a status.
pub(crate) type Ancestors<'a> = BTreeMap<SectionReference, (&'a str, Vec<Condition>)>;

/// Writes down the status of a policy of Envoy Gateway's kind; `conditions` are those towards an ancestor of a target that it won.
pub(crate) fn report(
    reach: &Reach<'_, '_>,
    claims: &Claims,
    policy: PolicyId,
    (key, generation): (ObjectKey, i64),
    conditions: impl Fn(&Ancestor<'_>) -> Vec<Condition>,
    statuses: &mut Statuses,
) {
    let mut all = Ancestors::new();
    for claim in &claims.claims[policy] {
        let failed = match &claim.outcome {
            ClaimOutcome::Won => None,
            ClaimOutcome::Lost(winner) => {
                let message = format!("{} has an older policy already, {winner}: change or remove one of the two", claim.target);
                Some(Condition::fails("Accepted", "Conflicted", message, generation))
            }
            ClaimOutcome::NoSection => {
                let message = format!("{}: the {} has no section of that name", claim.target, claim.target.kind.name());
                Some(Condition::fails("Accepted", "TargetNotFound", message, generation))
            }
            ClaimOutcome::NoObject => {
                statuses.note(key.clone(), Severity::Error, format!("the target {} does not exist", claim.target));
                continue;
            }
        };
        let before = all.len();
        for ancestor in ancestors::of_target(reach, &claim.target) {
            let conditions = failed.clone().map_or_else(|| conditions(&ancestor), |failed| vec![failed]);
            merge(all.entry(ancestor.reference).or_insert((ancestor.controller, Vec::new())), conditions);
        }
        if all.len() == before && all.is_empty() {
            let message = format!("the target {} is not served by any accepted Gateway", claim.target);
            statuses.note(key.clone(), Severity::Error, message);
        }
    }
    for foreign in &claims.foreign[policy] {
        let message = format!("targetRefs: {foreign}");
        statuses.note(key.clone(), Severity::Error, message);
    }
    if claims.claims[policy].is_empty() && claims.foreign[policy].is_empty() {
        statuses.note(
            key.clone(),
            Severity::Error,
            "the policy targets nothing: no targetRefs, and targetSelectors select no object",
        );
    }
    write(key, all, statuses);
}

/// Writes down ancestors, at most 16.
pub(crate) fn write(key: ObjectKey, ancestors: Ancestors<'_>, statuses: &mut Statuses) {
    let left_out = (ancestors.len() > MAX_ANCESTORS).then(|| {
        format!("reaches {} Gateways, ListenerSets and sections; the status lists the first {MAX_ANCESTORS}", ancestors.len())
    });
    if let Some(message) = &left_out {
        statuses.note(key.clone(), Severity::Warning, message.clone());
    }
    let list = ancestors.into_iter().take(MAX_ANCESTORS).map(|(ancestor_ref, (controller, conditions))| AncestorStatus {
        ancestor_ref,
        controller_name: controller.to_owned(),
        conditions,
    });
    let mut ancestors: Vec<_> = list.collect();
    if let Some(message) = left_out
        && let Some(last) = ancestors.last_mut()
    {
        let generation = last.conditions.first().map_or(0, |it| it.observed_generation);
        last.conditions.push(Condition::holds("Aggregated", "Aggregated", message, generation));
    }
    if ancestors.is_empty() {
        statuses.mention(key);
    } else {
        statuses.set(key, StatusBody::Policy { ancestors });
    }
}

/// If two targets reach the same Gateway, problems of either stay.
fn merge((_, conditions): &mut (&str, Vec<Condition>), more: Vec<Condition>) {
    for condition in more {
        match conditions.iter_mut().find(|it| it.kind == condition.kind) {
            Some(known) if known.status == ConditionStatus::True && condition.status != ConditionStatus::True => *known = condition,
            Some(_) => {}
            None => conditions.push(condition),
        }
    }
}
