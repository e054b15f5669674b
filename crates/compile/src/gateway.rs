//! Gateways: their listeners, addresses and conditions.

use std::{
    collections::HashMap,
    ops::{self, Range},
};

use crate::status::{Condition, GatewayStatus, Problem, Severity, StatusBody, Statuses};
use pailou_api::{Gateway, ObjectKey, refs::GATEWAY_GROUP};
use pailou_snapshot::{ListenerName, Name};

use super::{
    addresses::{self, ADDRESS_NOT_USABLE, Addresses, PENDING},
    class::Classes,
    client_certificates::{self, Identity},
    conflicts,
    gateway_costs::GatewayCosts,
    grants::Referrer,
    ids::{ById, GatewayId, ListenerId, ListenerSetId},
    index::{Index, name_of},
    listener::ListenerState,
    listener_sets::{self, ByGateway, ListenerSetState},
    parameters, reserved_ports,
    settings::{CONTROLLER_NAME, Settings},
    warnings,
};

/// A Gateway that is served, on its way into the snapshot.
pub(crate) struct GatewayState<'a> {
    pub(crate) object: &'a Gateway,
    pub(crate) name: Name,
    /// Controller that writes its and its routes' statuses.
    pub(crate) controller: &'a str,
    pub(crate) addresses: Addresses,
    /// Its own, then those of its ListenerSets.
    pub(crate) listeners: Vec<ListenerState<'a>>,
    /// Those that ask for it, the oldest first.
    pub(crate) sets: Vec<ListenerSetState<'a>>,
    /// The certificate that it shows to backends, where it has one.
    pub(crate) identity: Option<Identity>,
    /// Unsupported fields of its parameters.
    pub(crate) parameters: Option<Condition>,
    /// Costs of models' responses.
    pub(crate) costs: GatewayCosts,
    /// Problems of the Gateway as a whole.
    pub(crate) problems: Vec<Problem>,
}

/// The Gateways that are served, the oldest first, and their places by name.
#[derive(Default)]
pub(crate) struct Gateways<'a> {
    pub(crate) list: ById<GatewayId, GatewayState<'a>>,
    by_name: HashMap<(&'a str, &'a str), GatewayId>,
    sets: HashMap<(&'a str, &'a str), ListenerSetId>,
}

impl<'a> Gateways<'a> {
    /// Judges every Gateway of a served class.
    pub(crate) fn new(index: &Index<'a>, classes: &Classes<'a>, settings: &Settings, statuses: &mut Statuses) -> Self {
        let mut gateways = Self::default();
        let sets = listener_sets::by_gateway(index);
        for object in index.gateways.iter() {
            match classes.get(object.spec.gateway_class_name.as_str()) {
                Some(controller) => {
                    let gateway = GatewayState::new(index, object, controller, settings, (gateways.list.next(), &sets));
                    let its = gateway.sets.iter();
                    gateways.sets.extend(its.map(|set| ((&*set.object.meta.namespace, &*set.object.meta.name), set.id)));
                    let id = gateways.list.push(gateway);
                    gateways.by_name.insert((&object.meta.namespace, &object.meta.name), id);
                }
                None => statuses.note(key(object), Severity::Error, foreign(index, object, classes)),
            }
        }
        gateways
    }

    /// The Gateway of this name.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<GatewayId> {
        self.by_name.get(&(namespace, name)).copied()
    }

    /// The ListenerSet of this name.
    pub(crate) fn find_set(&self, namespace: &str, name: &str) -> Option<ListenerSetId> {
        self.sets.get(&(namespace, name)).copied()
    }

    /// The Gateway that a route or a policy names as its parent, by a ListenerSet of it too.
    pub(crate) fn parent(
        &self,
        group: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Option<(GatewayId, Option<ListenerSetId>)> {
        match (group, kind) {
            (GATEWAY_GROUP, "Gateway") => self.find(namespace, name).map(|gateway| (gateway, None)),
            (GATEWAY_GROUP, "ListenerSet") => self.find_set(namespace, name).map(|set| (set.gateway, Some(set))),
            _ => None,
        }
    }

    /// Writes down every Gateway's status.
    pub(crate) fn report(&self, statuses: &mut Statuses) {
        for (_, gateway) in self.list.iter() {
            statuses.set(key(gateway.object), StatusBody::Gateway(gateway.status()));
        }
    }
}

impl<'a> ops::Index<GatewayId> for Gateways<'a> {
    type Output = GatewayState<'a>;

    fn index(&self, id: GatewayId) -> &GatewayState<'a> {
        &self.list[id]
    }
}

impl<'a> ops::Index<ListenerId> for Gateways<'a> {
    type Output = ListenerState<'a>;

    fn index(&self, id: ListenerId) -> &ListenerState<'a> {
        &self.list[id.gateway].listeners[id.place]
    }
}

impl<'a> ops::IndexMut<ListenerId> for Gateways<'a> {
    fn index_mut(&mut self, id: ListenerId) -> &mut ListenerState<'a> {
        &mut self.list[id.gateway].listeners[id.place]
    }
}

fn key(gateway: &Gateway) -> ObjectKey {
    ObjectKey::new(GATEWAY_GROUP, "Gateway", &gateway.meta.namespace, &gateway.meta.name)
}

fn foreign(index: &Index<'_>, gateway: &Gateway, classes: &Classes<'_>) -> String {
    let class = &gateway.spec.gateway_class_name;
    match index.classes.get("", class) {
        Some(_) => format!("not served: GatewayClass {class} belongs to another controller"),
        None => {
            let known: Vec<_> = classes.keys().copied().collect();
            let advice = match known.as_slice() {
                [] => format!("no class is: add a GatewayClass whose controllerName is {CONTROLLER_NAME}"),
                _ => format!("served are {}", known.join(", ")),
            };
            format!("not served: there is no GatewayClass {class}; {advice}")
        }
    }
}

/// Alibaba Cloud's GatewayClass. Its controller runs the endpoint pickers of pools itself, so that the Services they name need not exist.
const ACK_CLASS: &str = "ack-gateway";

impl<'a> GatewayState<'a> {
    /// Whether pools are served by the built-in picker where the picker that they name does not exist.
    pub(crate) fn replaces_pickers(&self) -> bool {
        self.object.spec.gateway_class_name == ACK_CLASS
    }

    fn new(
        index: &Index<'a>,
        object: &'a Gateway,
        controller: &'a str,
        settings: &Settings,
        (id, sets): (GatewayId, &ByGateway<'a>),
    ) -> Self {
        let name = name_of(&object.meta);
        let referrer = Referrer { group: GATEWAY_GROUP, kind: "Gateway", namespace: &object.meta.namespace };
        let listeners = object.spec.listeners.iter().map(|spec| {
            let section = ListenerName { gateway: name.clone(), set: None, section: spec.name.as_str().into() };
            ListenerState::new(index, spec, referrer, section)
        });
        let mut listeners: Vec<_> = listeners.collect();
        let asking = sets.get(&(object.meta.namespace.as_str(), object.meta.name.as_str())).into_iter().flatten();
        let ids = (0..).map(|place| ListenerSetId { gateway: id, place });
        let mut sets: Vec<_> = asking.zip(ids).map(|(set, id)| ListenerSetState::new(index, object, set, id)).collect();
        for set in sets.iter_mut().filter(|set| set.is_allowed) {
            let first = listeners.len();
            listeners.extend(set.listeners(index, &name));
            set.places = first..listeners.len();
        }
        conflicts::refuse(&mut listeners);
        let mut problems: Vec<_> = parameters::refuse_gateway(index, object, settings.mode).into_iter().collect();
        let addresses = addresses::of_gateway(object, &name, settings, &mut problems);
        reserved_ports::refuse(&mut listeners, &addresses.bound, settings);
        let geo = parameters::geo_sources(index, object);
        for listener in &mut listeners {
            listener.geo.clone_from(&geo);
            client_certificates::ask(index, object, listener);
        }
        let identity = client_certificates::identity(index, object).map(|(identity, problem)| {
            problems.extend(problem);
            identity
        });
        let parameters = parameters::warn_gateway(index, object, settings.mode);
        let costs = GatewayCosts::default();
        Self { object, name, controller, addresses, listeners, sets, identity, parameters, costs, problems }
    }

    /// Whether it is a Gateway that can be served at all.
    pub(crate) fn is_accepted(&self) -> bool {
        !self.problems.iter().any(|problem| problem.condition == "Accepted")
    }

    /// Obstacle that keeps every listener from being served, with the reason for its `Programmed`.
    pub(crate) fn withheld(&self) -> Option<(&'static str, &str)> {
        if !self.is_accepted() {
            return Some(("Invalid", "the Gateway is not accepted: see its conditions"));
        }
        let pending = self.problems.iter().find(|it| it.condition == "Programmed" && it.reason != ADDRESS_NOT_USABLE);
        pending.map(|problem| (PENDING, problem.message.as_str()))
    }

    fn status(&self) -> GatewayStatus {
        let generation = self.object.meta.generation;
        let mut conditions = vec![self.accepted(generation), self.programmed(generation)];
        conditions.extend(self.addresses.assigned.clone());
        if self.identity.is_some() || self.costs.costs.is_some() {
            let problems: Vec<_> = self.problems.iter().chain(&self.costs.problems).cloned().collect();
            conditions.push(Condition::summary("ResolvedRefs", &problems, generation));
        }
        conditions.extend(client_certificates::insecure_mode(self.object));
        let fields = warnings::unsupported(self.object.spec.unsupported(), generation);
        let warnings = warnings::joined(fields, self.parameters.clone());
        let warnings = warnings::joined(warnings, self.costs.warning.clone());
        conditions.extend(warnings::joined(warnings, self.addresses.unprotected.clone()));
        GatewayStatus {
            addresses: self.addresses.shown.clone(),
            conditions,
            listeners: self.own_listeners().map(|listener| listener.status(self.withheld(), generation)).collect(),
            attached_listener_sets: Some(self.accepted_sets()),
        }
    }

    /// The places of a ListenerSet's listeners, or of the Gateway's own.
    pub(crate) fn places(&self, set: Option<ListenerSetId>) -> Range<usize> {
        set.map_or(0..self.object.spec.listeners.len(), |set| self.sets[set.place].places.clone())
    }

    fn own_listeners(&self) -> impl Iterator<Item = &ListenerState<'a>> {
        self.listeners[self.places(None)].iter()
    }

    fn accepted(&self, generation: i64) -> Condition {
        if !self.is_accepted() {
            return Condition::summary("Accepted", &self.problems, generation);
        }
        let bad: Vec<&str> = self.own_listeners().filter(|it| !it.is_accepted()).map(|it| it.spec.name.as_str()).collect();
        let message = format!("listeners that are not served: {}", bad.join(", "));
        match bad.len() {
            0 => Condition::fine("Accepted", generation),
            _ if self.listeners.iter().any(ListenerState::is_accepted) => {
                Condition::holds("Accepted", "ListenersNotValid", message, generation)
            }
            _ => Condition::fails("Accepted", "ListenersNotValid", message, generation),
        }
    }

    fn programmed(&self, generation: i64) -> Condition {
        if self.is_accepted() && self.listeners.iter().any(ListenerState::is_servable) {
            return Condition::summary("Programmed", &self.problems, generation);
        }
        let is_taken = |it: &&Problem| it.condition == "Programmed" && it.reason == "PortUnavailable";
        let mut taken = self.listeners.iter().flat_map(|it| &it.problems).filter(is_taken);
        match taken.next() {
            Some(problem) => Condition::fails("Programmed", ADDRESS_NOT_USABLE, problem.message.clone(), generation),
            None => Condition::fails("Programmed", "Invalid", "no listener can be served: see their conditions", generation),
        }
    }
}
