//! Gateways: their listeners, addresses and conditions.

use std::{collections::HashMap, ops::Range};

use crate::status::{Condition, GatewayStatus, Problem, Severity, StatusBody, Statuses};
use pailou_api::{Gateway, ObjectKey, refs::GATEWAY_GROUP};
use pailou_snapshot::{ListenerName, Name};

use super::{
    addresses::{self, ADDRESS_NOT_USABLE, Addresses, PENDING},
    class::Classes,
    client_certificates::{self, Identity},
    conflicts,
    grants::Referrer,
    index::{Index, name_of},
    listener::ListenerState,
    listener_sets::{self, ByGateway, ListenerSetState},
    parameters,
    settings::Settings,
    warnings,
};

/// A Gateway that is served, on its way into the snapshot.
pub(crate) struct GatewayState<'a> {
    pub(crate) object: &'a Gateway,
    pub(crate) name: Name,
    /// Whose opinion its and its routes' statuses are.
    pub(crate) controller: &'a str,
    pub(crate) addresses: Addresses,
    /// Its own, then those of its ListenerSets.
    pub(crate) listeners: Vec<ListenerState<'a>>,
    /// Those that ask for it, the oldest first.
    pub(crate) sets: Vec<ListenerSetState<'a>>,
    /// The certificate that it shows to backends, where it has one.
    pub(crate) identity: Option<Identity>,
    /// What of its parameters is not acted on.
    parameters: Option<Condition>,
    /// What is wrong with the Gateway as a whole.
    pub(crate) problems: Vec<Problem>,
}

/// The Gateways that are served, the oldest first, and their places by name.
#[derive(Default)]
pub(crate) struct Gateways<'a> {
    pub(crate) list: Vec<GatewayState<'a>>,
    by_name: HashMap<(&'a str, &'a str), usize>,
    /// Places of ListenerSets: the Gateway's, and their own in it.
    sets: HashMap<(&'a str, &'a str), (usize, usize)>,
}

impl<'a> Gateways<'a> {
    /// Judges every Gateway of a served class.
    pub(crate) fn new(index: &Index<'a>, classes: &Classes<'a>, settings: &Settings, statuses: &mut Statuses) -> Self {
        let mut gateways = Self::default();
        let sets = listener_sets::by_gateway(index);
        for object in index.gateways.iter() {
            match classes.get(object.spec.gateway_class_name.as_str()) {
                Some(controller) => {
                    let gateway = GatewayState::new(index, object, controller, settings, &sets);
                    let place = gateways.list.len();
                    gateways.by_name.insert((&object.meta.namespace, &object.meta.name), place);
                    let its = gateway.sets.iter().enumerate();
                    gateways.sets.extend(its.map(|(at, set)| ((&*set.object.meta.namespace, &*set.object.meta.name), (place, at))));
                    gateways.list.push(gateway);
                }
                None => statuses.note(key(object), Severity::Error, foreign(index, object, classes)),
            }
        }
        gateways
    }

    /// The place of a Gateway in the list.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<usize> {
        self.by_name.get(&(namespace, name)).copied()
    }

    /// The place of a ListenerSet's Gateway, and the set's own among the Gateway's.
    pub(crate) fn find_set(&self, namespace: &str, name: &str) -> Option<(usize, usize)> {
        self.sets.get(&(namespace, name)).copied()
    }

    /// Writes down every Gateway's status.
    pub(crate) fn report(&self, statuses: &mut Statuses) {
        for gateway in &self.list {
            statuses.set(key(gateway.object), StatusBody::Gateway(gateway.status()));
        }
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
            format!("not served: there is no GatewayClass {class}; served are {}", known.join(", "))
        }
    }
}

impl<'a> GatewayState<'a> {
    fn new(index: &Index<'a>, object: &'a Gateway, controller: &'a str, settings: &Settings, sets: &ByGateway<'a>) -> Self {
        let name = name_of(&object.meta);
        let referrer = Referrer { group: GATEWAY_GROUP, kind: "Gateway", namespace: &object.meta.namespace };
        let listeners = object.spec.listeners.iter().map(|spec| {
            let section = ListenerName { gateway: name.clone(), set: None, section: spec.name.as_str().into() };
            ListenerState::new(index, spec, referrer, section)
        });
        let mut listeners: Vec<_> = listeners.collect();
        let asking = sets.get(&(object.meta.namespace.as_str(), object.meta.name.as_str())).into_iter().flatten();
        let mut sets: Vec<_> = asking.map(|set| ListenerSetState::new(index, object, set)).collect();
        for (place, set) in sets.iter_mut().enumerate().filter(|(_, set)| set.is_allowed) {
            let first = listeners.len();
            listeners.extend(set.listeners(index, &name, place));
            set.places = first..listeners.len();
        }
        conflicts::refuse(&mut listeners);
        let mut problems: Vec<_> = parameters::refuse_gateway(index, object, settings.mode).into_iter().collect();
        let addresses = addresses::of_gateway(object, &name, settings, &mut problems);
        for listener in &mut listeners {
            client_certificates::ask(index, object, listener);
        }
        let identity = client_certificates::identity(index, object).map(|(identity, problem)| {
            problems.extend(problem);
            identity
        });
        let parameters = parameters::warn_gateway(index, object, settings.mode);
        Self { object, name, controller, addresses, listeners, sets, identity, parameters, problems }
    }

    /// Whether it is a Gateway that can be served at all.
    pub(crate) fn is_accepted(&self) -> bool {
        !self.problems.iter().any(|problem| problem.condition == "Accepted")
    }

    /// What keeps every listener from being served, with the reason for its `Programmed`.
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
        conditions.extend(self.identity.as_ref().map(|_| Condition::summary("ResolvedRefs", &self.problems, generation)));
        conditions.extend(client_certificates::insecure_mode(self.object));
        let fields = warnings::unsupported(self.object.spec.unsupported(), generation);
        conditions.extend(warnings::joined(fields, self.parameters.clone()));
        GatewayStatus {
            addresses: self.addresses.shown.clone(),
            conditions,
            listeners: self.own_listeners().map(|listener| listener.status(self.withheld(), generation)).collect(),
            attached_listener_sets: Some(self.accepted_sets()),
        }
    }

    /// The places of a ListenerSet's listeners, or of the Gateway's own.
    pub(crate) fn places(&self, set: Option<usize>) -> Range<usize> {
        set.map_or(0..self.object.spec.listeners.len(), |set| self.sets[set].places.clone())
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
        let mut taken = self.listeners.iter().flat_map(|it| &it.problems).filter(|it| it.reason == "PortUnavailable");
        match taken.next() {
            Some(problem) => Condition::fails("Programmed", ADDRESS_NOT_USABLE, problem.message.clone(), generation),
            None => Condition::fails("Programmed", "Invalid", "no listener can be served: see their conditions", generation),
        }
    }
}
