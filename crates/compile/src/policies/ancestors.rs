//! Ancestors of a policy's target: the Gateway or ListenerSet that it is, or the parents that a route names.

use pailou_api::refs::{GATEWAY_GROUP, ParentReference};
use pailou_snapshot::{Name, RouteKind};

use crate::{
    gateway::Gateways,
    ids::{GatewayId, ListenerId, ListenerSetId},
    index::Index,
    order::Order,
    status::SectionReference,
};

use super::targets::{Target, TargetKind};

/// Input that decides which Gateways a policy reaches.
pub(crate) struct Reach<'r, 'a> {
    pub(crate) gateways: &'r Gateways<'a>,
    pub(crate) index: &'r Index<'a>,
    pub(crate) routes: &'r Order,
}

/// Entry of a policy's status.
pub(crate) struct Ancestor<'a> {
    pub(crate) reference: SectionReference,
    /// Controller that writes the entry.
    pub(crate) controller: &'a str,
    /// Listeners on which the policy has an effect by it.
    pub(crate) listeners: Vec<ListenerId>,
}

/// The ancestors of a target: Envoy Gateway's, a route's by its parentRefs with their sections.
pub(crate) fn of_target<'a>(reach: &Reach<'_, 'a>, target: &Target) -> Vec<Ancestor<'a>> {
    if let Some(kind) = target.kind.route() {
        return of_route(reach, kind, &target.name);
    }
    let gateway = match target.kind {
        TargetKind::ListenerSet => set(reach, &target.name).map(|set| set.gateway),
        _ => reach.gateways.find(&target.name.namespace, &target.name.name),
    };
    let ancestor = |gateway: GatewayId| Ancestor {
        reference: SectionReference {
            kind: target.kind.name(),
            section_name: target.section.as_deref().map(str::to_owned),
            ..SectionReference::gateway(&target.name)
        },
        controller: reach.gateways[gateway].controller,
        listeners: listeners(reach, target),
    };
    gateway.map(ancestor).into_iter().collect()
}

/// The listeners of a target: a Gateway's with those of its ListenerSets, or those that a route is on.
pub(crate) fn listeners(reach: &Reach<'_, '_>, target: &Target) -> Vec<ListenerId> {
    let section = target.section.as_deref();
    match target.kind {
        TargetKind::Gateway => {
            let Some(gateway) = reach.gateways.find(&target.name.namespace, &target.name.name) else { return Vec::new() };
            let all = reach.gateways[gateway].listeners.iter().enumerate();
            let is_meant = |name: &pailou_snapshot::ListenerName| {
                section.is_none_or(|section| name.set.is_none() && &*name.section == section)
            };
            all.filter(|(_, it)| is_meant(&it.name)).map(|(place, _)| ListenerId { gateway, place }).collect()
        }
        TargetKind::ListenerSet => {
            let Some(ListenerSetId { gateway, .. }) = set(reach, &target.name) else { return Vec::new() };
            let all = reach.gateways[gateway].listeners.iter().enumerate();
            let its = all.filter(|(_, it)| it.name.set.as_ref() == Some(&target.name));
            let its = its.filter(|(_, it)| section.is_none_or(|section| &*it.name.section == section));
            its.map(|(place, _)| ListenerId { gateway, place }).collect()
        }
        kind => {
            let output = kind.route().and_then(|kind| reach.routes.output(reach.index, kind, &target.name));
            output.iter().flat_map(|output| &output.places).map(|place| place.listener).collect()
        }
    }
}

fn set(reach: &Reach<'_, '_>, name: &Name) -> Option<ListenerSetId> {
    reach.gateways.find_set(&name.namespace, &name.name)
}

fn of_route<'a>(reach: &Reach<'_, 'a>, kind: RouteKind, name: &Name) -> Vec<Ancestor<'a>> {
    let Some(output) = reach.routes.output(reach.index, kind, name) else { return Vec::new() };
    let ancestor = |parent: &ParentReference| {
        let namespace = parent.namespace.as_deref().unwrap_or(&name.namespace);
        let target_kind = [TargetKind::Gateway, TargetKind::ListenerSet].into_iter().find(|kind| parent.kind == *kind.name())?;
        let named = Target { kind: target_kind, name: Name::new(namespace, &parent.name), section: None };
        let is_meant = |listener: &ListenerId| {
            let state = &reach.gateways[*listener];
            let is_its = match target_kind {
                TargetKind::ListenerSet => state.name.set.as_ref() == Some(&named.name),
                _ => state.name.set.is_none() && state.name.gateway == named.name,
            };
            is_its
                && parent.section_name.as_ref().is_none_or(|section| *section == state.spec.name)
                && parent.port.is_none_or(|port| port == state.spec.port)
        };
        let listeners: Vec<_> = output.places.iter().map(|place| place.listener).filter(is_meant).collect();
        let controller = reach.gateways[listeners.first()?.gateway].controller;
        let reference = SectionReference {
            kind: target_kind.name(),
            section_name: parent.section_name.as_deref().map(str::to_owned),
            ..SectionReference::gateway(&named.name)
        };
        Some(Ancestor { reference, controller, listeners })
    };
    let parents = output.route.parents().iter().filter(|parent| &*parent.group == GATEWAY_GROUP);
    parents.filter_map(ancestor).collect()
}
