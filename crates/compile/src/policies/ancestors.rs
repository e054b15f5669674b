//! Ancestors of a policy's target: the Gateway or ListenerSet that it is, or the parents that a route names.

use pailou_api::refs::{GATEWAY_GROUP, ParentReference};
use pailou_snapshot::{Name, RouteKind};

use crate::{
    attach,
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
    /// Global limits are counted in a store.
    pub(crate) has_limit_store: bool,
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
    let ancestor = |(gateway, _): (GatewayId, _)| Ancestor {
        reference: SectionReference {
            kind: target.kind.name(),
            section_name: target.section.as_deref().map(str::to_owned),
            ..SectionReference::gateway(&target.name)
        },
        controller: reach.gateways[gateway].controller,
        listeners: listeners(reach, target),
    };
    parent(reach, target).map(ancestor).into_iter().collect()
}

/// The listeners of a target: a Gateway's with those of its ListenerSets, or those that a route is on.
pub(crate) fn listeners(reach: &Reach<'_, '_>, target: &Target) -> Vec<ListenerId> {
    if let Some(kind) = target.kind.route() {
        let output = reach.routes.output(reach.index, kind, &target.name);
        return output.iter().flat_map(|output| &output.places).map(|place| place.listener).collect();
    }
    let Some((gateway, set)) = parent(reach, target) else { return Vec::new() };
    let state = &reach.gateways[gateway];
    let places = match (set, &target.section) {
        (None, None) => 0..state.listeners.len(),
        _ => state.places(set),
    };
    let is_meant = |place: &usize| target.section.as_ref().is_none_or(|it| *it == state.listeners[*place].name.section);
    places.filter(is_meant).map(|place| ListenerId { gateway, place }).collect()
}

fn parent(reach: &Reach<'_, '_>, target: &Target) -> Option<(GatewayId, Option<ListenerSetId>)> {
    reach.gateways.parent(GATEWAY_GROUP, target.kind.name(), &target.name.namespace, &target.name.name)
}

fn of_route<'a>(reach: &Reach<'_, 'a>, kind: RouteKind, name: &Name) -> Vec<Ancestor<'a>> {
    let Some(output) = reach.routes.output(reach.index, kind, name) else { return Vec::new() };
    let ancestor = |parent: &ParentReference| {
        let (gateway, set) = attach::parent_of(reach.gateways, &name.namespace, parent)?;
        let state = &reach.gateways[gateway];
        let places = state.places(set);
        let is_meant = |it: &ListenerId| {
            it.gateway == gateway && places.contains(&it.place) && attach::is_asked(parent, &state.listeners[it.place])
        };
        let listeners: Vec<_> = output.places.iter().map(|place| place.listener).filter(is_meant).collect();
        if listeners.is_empty() {
            return None;
        }
        let named = Name::new(parent.namespace.as_deref().unwrap_or(&name.namespace), &parent.name);
        let reference = SectionReference {
            kind: set.map_or(TargetKind::Gateway, |_| TargetKind::ListenerSet).name(),
            section_name: parent.section_name.as_deref().map(str::to_owned),
            ..SectionReference::gateway(&named)
        };
        Some(Ancestor { reference, controller: state.controller, listeners })
    };
    output.route.parents().iter().filter_map(ancestor).collect()
}
