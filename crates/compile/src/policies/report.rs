//! Statuses of policies: an entry for each Gateway that a policy reaches.

use std::collections::BTreeMap;

use crate::status::{AncestorStatus, Condition, ConditionStatus, SectionReference, Severity, StatusBody, Statuses};
use pailou_api::ObjectKey;

use super::{
    super::{
        gateway::Gateways,
        ids::{GatewayId, PolicyId},
        index::Index,
        order::Order,
    },
    targets::{Claim, ClaimOutcome, Claims, TargetKind},
};

/// The most ancestors that a status may list.
const MAX_ANCESTORS: usize = 16;

/// Input that decides which Gateways a policy reaches.
pub(crate) struct Reach<'r, 'a> {
    pub(crate) gateways: &'r Gateways<'a>,
    pub(crate) index: &'r Index<'a>,
    pub(crate) routes: &'r Order,
}

/// Ancestors on their way into a status.
pub(crate) type Ancestors<'a> = BTreeMap<SectionReference, (&'a str, Vec<Condition>)>;

/// Writes down the status of a policy of Envoy Gateway's kind; `conditions` are those of a target that it won.
pub(crate) fn report(
    reach: &Reach<'_, '_>,
    claims: &Claims,
    policy: PolicyId,
    (key, generation): (ObjectKey, i64),
    conditions: impl Fn(&Claim) -> Vec<Condition>,
    statuses: &mut Statuses,
) {
    let mut ancestors = Ancestors::new();
    for claim in &claims.claims[policy] {
        let conditions = match &claim.outcome {
            ClaimOutcome::Won => conditions(claim),
            ClaimOutcome::Lost(winner) => {
                let message = format!("{} has an older policy already, {winner}: change or remove one of the two", claim.target);
                vec![Condition::fails("Accepted", "Conflicted", message, generation)]
            }
            ClaimOutcome::NoSection => {
                let message = format!("{}: the {} has no section of that name", claim.target, claim.target.kind.name());
                vec![Condition::fails("Accepted", "TargetNotFound", message, generation)]
            }
            ClaimOutcome::NoObject => {
                statuses.note(key.clone(), Severity::Error, format!("the target {} does not exist", claim.target));
                continue;
            }
        };
        let before = ancestors.len();
        for (reference, controller) in reached(reach, claim) {
            merge(ancestors.entry(reference).or_insert((controller, Vec::new())), conditions.clone());
        }
        if ancestors.len() == before && ancestors.is_empty() {
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
    write(key, ancestors, statuses);
}

/// Writes down ancestors, at most 16.
pub(crate) fn write(key: ObjectKey, ancestors: Ancestors<'_>, statuses: &mut Statuses) {
    if ancestors.len() > MAX_ANCESTORS {
        let message = format!("reaches {} Gateways; the status lists the first {MAX_ANCESTORS}", ancestors.len());
        statuses.note(key.clone(), Severity::Warning, message);
    }
    let list = ancestors.into_iter().take(MAX_ANCESTORS).map(|(ancestor_ref, (controller, conditions))| AncestorStatus {
        ancestor_ref,
        controller_name: controller.to_owned(),
        conditions,
    });
    let ancestors: Vec<_> = list.collect();
    if ancestors.is_empty() {
        statuses.mention(key);
    } else {
        statuses.set(key, StatusBody::Policy { ancestors });
    }
}

pub(crate) fn reached<'a>(reach: &Reach<'_, 'a>, claim: &Claim) -> Vec<(SectionReference, &'a str)> {
    let target = &claim.target;
    let of_gateway = |id: &GatewayId| {
        let gateway = &reach.gateways[*id];
        (SectionReference::gateway(&gateway.name), gateway.controller)
    };
    match target.kind {
        TargetKind::Gateway => {
            let place = reach.gateways.find(&target.name.namespace, &target.name.name);
            let section = target.section.as_deref().map(str::to_owned);
            place
                .iter()
                .map(of_gateway)
                .map(|(it, controller)| (SectionReference { section_name: section.clone(), ..it }, controller))
                .collect()
        }
        TargetKind::ListenerSet => {
            let found = reach.gateways.find_set(&target.name.namespace, &target.name.name);
            let place = found.map(|set| set.gateway);
            let reference = || SectionReference {
                kind: "ListenerSet",
                section_name: target.section.as_deref().map(str::to_owned),
                ..SectionReference::gateway(&target.name)
            };
            place.iter().map(|place| (reference(), reach.gateways[*place].controller)).collect()
        }
        kind => {
            let gateways = kind.route().map(|kind| reach.routes.gateways(reach.index, kind, &target.name));
            gateways.into_iter().flatten().map(of_gateway).collect()
        }
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
