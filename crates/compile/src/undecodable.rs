//! Statuses of objects that do not decode: not accepted, towards every controller that they seem to concern.
//!
//! The last good version of such an object stays in force, and its status is about that version: only *Accepted* is of the
//! newer generation, and false.
//!
//! These statuses lie over all others, which do not depend on them.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    reach::gateways_before,
    status::{
        ClassStatus, Condition, ConditionList, GatewayStatus, ParentStatus, PoolParentStatus, PoolReference, SectionReference,
        Severity, StatusBody, Statuses,
    },
    store::Store,
};
use pailou_api::{
    Meta, ObjectKey,
    inference_pool::InferencePoolVersion,
    references::Referent,
    refs::{GATEWAY_GROUP, ParentReference, PolicyTargetReference},
    undecodable::{Concerns, Undecodable},
};
use pailou_snapshot::Name;

use super::{
    attach::parent_of,
    class::{self, Classes},
    gateway::Gateways,
    ids::GatewayId,
    index::{Index, Objects},
    order::Order,
    policies::{
        ancestors::{self, Reach},
        report::{Ancestors, write},
        targets::{DeclaredTargets, TargetKind, targets},
    },
    settings::Settings,
};

/// The last report, and its input.
#[derive(Debug, Default)]
pub(super) struct Memory {
    undecodable: Vec<Undecodable>,
    /// The compiled statuses, and the result.
    statuses: Option<(Arc<Statuses>, Arc<Statuses>)>,
}

/// Input that decides which controllers an object concerns.
pub(super) struct ReportContext<'w> {
    pub(super) objects: &'w Objects,
    pub(super) settings: &'w Settings,
    pub(super) routes: &'w Order,
    /// Whether it is as it was.
    pub(super) is_same: bool,
}

impl Memory {
    /// The compiled statuses, overlaid with those of objects that do not decode.
    pub(super) fn report(&mut self, what: &ReportContext<'_>, store: &Store, compiled: &Arc<Statuses>) -> Arc<Statuses> {
        if store.all_undecodable().len() == 0 {
            *self = Self::default();
            return compiled.clone();
        }
        let is_same = what.is_same && self.undecodable.iter().eq(store.all_undecodable());
        match &self.statuses {
            Some((before, statuses)) if is_same && Arc::ptr_eq(before, compiled) => statuses.clone(),
            _ => {
                let mut statuses = (**compiled).clone();
                // No recorded result depends on these lookups.
                what.objects.track(|index| judge_all(what, index, store, &mut statuses));
                let statuses = Arc::new(statuses);
                self.undecodable = store.all_undecodable().cloned().collect();
                self.statuses = Some((compiled.clone(), statuses.clone()));
                statuses
            }
        }
    }
}

fn judge_all(what: &ReportContext<'_>, index: &Index<'_>, store: &Store, statuses: &mut Statuses) {
    let ReportContext { settings, routes, .. } = *what;
    let mut said_already = Statuses::default();
    let classes = class::classes(index, settings, &mut said_already);
    let gateways = Gateways::new(index, &classes, settings, &mut said_already);
    let judge =
        Judge { index, settings, classes: &classes, reach: Reach { gateways: &gateways, index, routes, has_limit_store: false } };
    store.all_undecodable().for_each(|undecodable| judge.report(undecodable, statuses));
}

struct Judge<'j, 'a> {
    index: &'j Index<'a>,
    settings: &'j Settings,
    classes: &'j Classes<'a>,
    reach: Reach<'j, 'a>,
}

impl Judge<'_, '_> {
    /// Writes the status of one.
    fn report(&self, undecodable: &Undecodable, statuses: &mut Statuses) {
        let former = statuses.get(&undecodable.key).map(|status| status.body.clone()).filter(|body| *body != StatusBody::None);
        let message = match &former {
            Some(_) => format!("not read, and what it was before is served: {}", undecodable.message),
            None => format!("not read: {}", undecodable.message),
        };
        let condition = Condition::fails("Accepted", reason(&undecodable.concerns), message, undecodable.generation);
        match former {
            Some(mut body) => {
                deny(&mut body, &condition);
                statuses.set(undecodable.key.clone(), body);
            }
            None => self.judge(undecodable, condition, statuses),
        }
    }

    fn judge(&self, undecodable: &Undecodable, accepted: Condition, statuses: &mut Statuses) {
        let key = undecodable.key.clone();
        match self.body(undecodable, &accepted) {
            Some(JudgedStatus::Body(body)) => statuses.set(key, body),
            Some(JudgedStatus::Ancestors(ancestors)) => write(key, ancestors, statuses),
            None => statuses.note(key, Severity::Error, accepted.message),
        }
    }

    fn body(&self, undecodable: &Undecodable, accepted: &Condition) -> Option<JudgedStatus<'_>> {
        let conditions = || vec![accepted.clone()];
        let gateways = self.reach.gateways;
        Some(JudgedStatus::Body(match &undecodable.concerns {
            Concerns::Class(name) => {
                name.as_ref().filter(|name| self.settings.controllers.contains(name))?;
                StatusBody::Class(ClassStatus { conditions: conditions(), ..ClassStatus::default() })
            }
            Concerns::Gateway(class) => {
                self.classes.get(class.as_deref()?)?;
                StatusBody::Gateway(unserved(accepted))
            }
            Concerns::Set(parent) => {
                let parent = parent.as_ref().filter(|parent| parent.kind == "Gateway")?;
                gateways.find(namespace_of(undecodable, parent), &parent.name)?;
                StatusBody::Gateway(unserved(accepted))
            }
            Concerns::Route(parents) => {
                let status = |parent: &ParentReference| {
                    let (gateway, _) = parent_of(gateways, &undecodable.key.namespace, parent)?;
                    let controller_name = gateways[gateway].controller.to_owned();
                    Some(ParentStatus { parent_ref: parent.clone(), controller_name, conditions: conditions() })
                };
                let parents: Vec<_> = parents.iter().filter_map(status).collect();
                (!parents.is_empty()).then_some(StatusBody::Route { parents })?
            }
            Concerns::Policy { targets: refs, selectors, .. } => {
                let meta = Meta { namespace: undecodable.key.namespace.clone(), ..Meta::default() };
                let declared = DeclaredTargets { kind: &undecodable.key.kind, meta: &meta, refs: refs.clone(), selectors };
                let (targets, _) = targets(self.index, TargetKind::ROUTING, &declared);
                let reached = targets.iter().flat_map(|target| ancestors::of_target(&self.reach, target));
                return of(reached.map(|it| (it.reference, (it.controller, conditions()))).collect());
            }
            Concerns::Backends(targets) => {
                let is_target = |to: Referent<'_>| {
                    let is_meant = |it: &PolicyTargetReference| it.group == *to.group && it.kind == *to.kind && it.name == *to.name;
                    to.namespace == undecodable.key.namespace && targets.iter().any(is_meant)
                };
                let places = self.led_to(is_target).into_iter().map(|id| &gateways[id]);
                let ancestor = |name: &Name, controller| (SectionReference::gateway(name), (controller, conditions()));
                return of(places.map(|gateway| ancestor(&gateway.name, gateway.controller)).collect());
            }
            Concerns::Pool(version) => self.pool(&undecodable.key, *version, accepted)?,
            Concerns::Itself => StatusBody::Conditions(ConditionList { conditions: conditions() }),
        }))
    }

    fn pool(&self, key: &ObjectKey, version: InferencePoolVersion, accepted: &Condition) -> Option<StatusBody> {
        let is_it = |to: Referent<'_>| {
            to.namespace == key.namespace && to.group == &*key.group && to.kind == "InferencePool" && to.name == key.name
        };
        let places = self.led_to(is_it).into_iter().map(|id| &self.reach.gateways[id]);
        let parents = places.map(|gateway| PoolParentStatus {
            parent_ref: PoolReference {
                group: GATEWAY_GROUP,
                kind: "Gateway",
                namespace: gateway.name.namespace.to_string(),
                name: gateway.name.name.to_string(),
            },
            controller_name: (version == InferencePoolVersion::V1).then(|| gateway.controller.to_owned()),
            conditions: vec![accepted.clone()],
        });
        let parents: Vec<_> = parents.collect();
        (!parents.is_empty()).then_some(match version {
            InferencePoolVersion::V1 => StatusBody::Pool { parents },
            InferencePoolVersion::V1Alpha2 => StatusBody::PoolV1Alpha2 { parent: parents },
        })
    }

    /// The Gateways of the routes that lead to such a backend.
    fn led_to(&self, is_meant: impl Fn(Referent<'_>) -> bool) -> BTreeSet<GatewayId> {
        gateways_before(self.index, self.reach.gateways, is_meant)
    }
}

/// A status on its way.
enum JudgedStatus<'a> {
    Body(StatusBody),
    Ancestors(Ancestors<'a>),
}

fn of(ancestors: Ancestors<'_>) -> Option<JudgedStatus<'_>> {
    (!ancestors.is_empty()).then_some(JudgedStatus::Ancestors(ancestors))
}

/// As Gateway API names it where it has a name for it.
fn reason(concerns: &Concerns) -> &'static str {
    match concerns {
        Concerns::Class(_) => "InvalidParameters",
        Concerns::Route(_) => "UnsupportedValue",
        _ => "Invalid",
    }
}

fn unserved(accepted: &Condition) -> GatewayStatus {
    let message = "it is not accepted: see its conditions";
    let programmed = Condition::fails("Programmed", "Invalid", message, accepted.observed_generation);
    GatewayStatus { conditions: vec![accepted.clone(), programmed], ..GatewayStatus::default() }
}

fn namespace_of<'u>(undecodable: &'u Undecodable, parent: &'u ParentReference) -> &'u str {
    parent.namespace.as_deref().unwrap_or(&undecodable.key.namespace)
}

/// Replaces the former condition, towards every parent.
fn deny(body: &mut StatusBody, condition: &Condition) {
    let lists: Vec<&mut Vec<Condition>> = match body {
        StatusBody::None => Vec::new(),
        StatusBody::Class(class) => vec![&mut class.conditions],
        StatusBody::Gateway(gateway) => vec![&mut gateway.conditions],
        StatusBody::Conditions(list) => vec![&mut list.conditions],
        StatusBody::Route { parents } => parents.iter_mut().map(|it| &mut it.conditions).collect(),
        StatusBody::Policy { ancestors } => ancestors.iter_mut().map(|it| &mut it.conditions).collect(),
        StatusBody::Pool { parents } | StatusBody::PoolV1Alpha2 { parent: parents } => {
            parents.iter_mut().map(|it| &mut it.conditions).collect()
        }
    };
    for list in lists {
        match list.iter_mut().find(|known| known.kind == condition.kind) {
            Some(known) => *known = condition.clone(),
            None => list.insert(0, condition.clone()),
        }
    }
}
