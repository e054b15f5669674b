//! Gateways: their listeners, addresses and conditions.

use std::collections::{BTreeMap, HashMap};

use crate::{
    resources::{Gateway, ObjectKey, refs::GATEWAY_GROUP},
    snapshot::{ListenerName, Name},
    status::{Condition, GatewayStatus, Problem, Severity, StatusBody, Statuses},
};

use super::{
    addresses::{self, ADDRESS_NOT_USABLE, Addresses, PENDING},
    class::Classes,
    client_certificates::{self, Identity},
    grants::Referrer,
    index::{Index, name_of},
    listener::ListenerState,
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
    pub(crate) listeners: Vec<ListenerState<'a>>,
    /// The certificate that it shows to backends, where it has one.
    pub(crate) identity: Option<Identity>,
    /// What is wrong with the Gateway as a whole.
    pub(crate) problems: Vec<Problem>,
}

/// The Gateways that are served, the oldest first, and their places by name.
#[derive(Default)]
pub(crate) struct Gateways<'a> {
    pub(crate) list: Vec<GatewayState<'a>>,
    by_name: HashMap<(&'a str, &'a str), usize>,
}

impl<'a> Gateways<'a> {
    /// Judges every Gateway of a served class.
    pub(crate) fn new(index: &Index<'a>, classes: &Classes<'a>, settings: &Settings, statuses: &mut Statuses) -> Self {
        let mut gateways = Self::default();
        for object in index.gateways.iter() {
            match classes.get(object.spec.gateway_class_name.as_str()) {
                Some(controller) => {
                    gateways.by_name.insert((&object.meta.namespace, &object.meta.name), gateways.list.len());
                    gateways.list.push(GatewayState::new(index, object, controller, settings));
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

    /// Writes down every Gateway's status.
    pub(crate) fn report(&self, index: &Index<'_>, statuses: &mut Statuses) {
        for gateway in &self.list {
            statuses.set(key(gateway.object), StatusBody::Gateway(gateway.status(index)));
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
    fn new(index: &Index<'a>, object: &'a Gateway, controller: &'a str, settings: &Settings) -> Self {
        let name = name_of(&object.meta);
        let referrer = Referrer { group: GATEWAY_GROUP, kind: "Gateway", namespace: &object.meta.namespace };
        let listeners = object.spec.listeners.iter().map(|spec| {
            let section = ListenerName { gateway: name.clone(), section: spec.name.as_str().into() };
            ListenerState::new(index, spec, referrer, section)
        });
        let mut listeners: Vec<_> = listeners.collect();
        refuse_conflicts(&mut listeners);
        let mut problems = Vec::new();
        let addresses = addresses::of_gateway(object, &name, settings, &mut problems);
        for listener in &mut listeners {
            client_certificates::ask(index, object, listener);
        }
        let identity = client_certificates::identity(index, object).map(|(identity, problem)| {
            problems.extend(problem);
            identity
        });
        Self { object, name, controller, addresses, listeners, identity, problems }
    }

    /// Whether it is a Gateway that can be served at all.
    pub(crate) fn is_accepted(&self) -> bool {
        !self.problems.iter().any(|problem| problem.condition == "Accepted")
    }

    /// What keeps every listener from being served, with the reason for its `Programmed`.
    fn withheld(&self) -> Option<(&'static str, &str)> {
        if !self.is_accepted() {
            return Some(("Invalid", "the Gateway is not accepted: see its conditions"));
        }
        let pending = self.problems.iter().find(|it| it.condition == "Programmed" && it.reason != ADDRESS_NOT_USABLE);
        pending.map(|problem| (PENDING, problem.message.as_str()))
    }

    fn status(&self, index: &Index<'_>) -> GatewayStatus {
        let generation = self.object.meta.generation;
        let mut conditions = vec![self.accepted(generation), self.programmed(generation)];
        conditions.extend(self.identity.as_ref().map(|_| Condition::summary("ResolvedRefs", &self.problems, generation)));
        conditions.extend(client_certificates::insecure_mode(self.object));
        conditions.extend(warnings::unsupported(self.object.spec.unsupported(), generation));
        if let Some(parameters) = self.object.spec.infrastructure.as_ref().and_then(|it| it.parameters_ref.as_ref()) {
            let field = "infrastructure.parametersRef";
            conditions.extend(warnings::parameters(
                index,
                field,
                &parameters.kind,
                &self.name.namespace,
                &parameters.name,
                generation,
            ));
        }
        GatewayStatus {
            addresses: self.addresses.shown.clone(),
            conditions,
            listeners: self.listeners.iter().map(|listener| listener.status(self.withheld(), generation)).collect(),
            attached_listener_sets: Some(0),
        }
    }

    fn accepted(&self, generation: i64) -> Condition {
        if !self.is_accepted() {
            return Condition::summary("Accepted", &self.problems, generation);
        }
        let bad: Vec<&str> = self.listeners.iter().filter(|it| !it.is_accepted()).map(|it| it.spec.name.as_str()).collect();
        let message = format!("listeners that are not served: {}", bad.join(", "));
        match bad.len() {
            0 => Condition::fine("Accepted", generation),
            count if count < self.listeners.len() => Condition::holds("Accepted", "ListenersNotValid", message, generation),
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

/// Listeners of one Gateway on one port must speak one protocol and be told apart by host name. None of those that
/// cannot be told apart is served, as Gateway API has it.
fn refuse_conflicts(listeners: &mut [ListenerState<'_>]) {
    let mut ports: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for (place, listener) in listeners.iter().enumerate().filter(|(_, it)| it.protocol.is_some()) {
        ports.entry(listener.spec.port.get()).or_default().push(place);
    }
    for (port, places) in ports.into_iter().filter(|(_, places)| places.len() > 1) {
        let first = listeners[places[0]].protocol;
        if places.iter().any(|place| listeners[*place].protocol != first) {
            let message = format!("port {port} is asked for with different protocols: give each protocol a port of its own");
            conflict(listeners, &places, "ProtocolConflict", &message);
            continue;
        }
        let mut hosts: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
        for place in places {
            hosts.entry(listeners[place].hostname.as_ref().map(ToString::to_string)).or_default().push(place);
        }
        for (host, places) in hosts.into_iter().filter(|(_, places)| places.len() > 1) {
            let host = host.map_or("every host".to_owned(), |host| format!("host {host}"));
            let message =
                format!("several listeners ask for {host} on port {port}: change the hostname or the port of all but one");
            conflict(listeners, &places, "HostnameConflict", &message);
        }
    }
}

fn conflict(listeners: &mut [ListenerState<'_>], places: &[usize], reason: &'static str, message: &str) {
    for place in places {
        listeners[*place].problems.push(Problem { condition: "Conflicted", reason, message: message.to_owned() });
    }
}
