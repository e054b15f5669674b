//! Statuses of ListenerSets.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    gateway::{GatewayState, Gateways},
    ids::{ListenerId, ListenerSetId},
    index::Index,
    listener::ListenerState,
    status::{Condition, GatewayStatus, Severity, Status, StatusBody, Statuses},
    warnings,
};
use pailou_api::{ObjectKey, refs::GATEWAY_GROUP};

/// Writes down every ListenerSet's status.
pub(crate) fn report(index: &Index<'_>, gateways: &Gateways<'_>, statuses: &mut Statuses) {
    for set in index.listener_sets.iter() {
        let key = ObjectKey::new(GATEWAY_GROUP, "ListenerSet", &set.meta.namespace, &set.meta.name);
        match gateways.find_set(&set.meta.namespace, &set.meta.name) {
            Some(id) => statuses.set(key, StatusBody::Gateway(gateways[id.gateway].status_of_set(id))),
            None => {
                let parent = &set.spec.parent_ref;
                let namespace = parent.namespace.as_deref().unwrap_or(&set.meta.namespace);
                let message = format!("not served: there is no served {} {} in namespace {namespace}", parent.kind, parent.name);
                statuses.note(key, Severity::Error, message);
            }
        }
    }
}

/// Writes the statuses of the ListenerSets of these listeners, whose counts of routes have changed.
pub(crate) fn report_counts(gateways: &Gateways<'_>, listeners: &BTreeSet<ListenerId>, statuses: &mut Statuses) {
    for listener in listeners {
        let gateway = &gateways[listener.gateway];
        let Some(set) = gateways[*listener].set else { continue };
        let meta = &gateway.sets[set.place].object.meta;
        let key = ObjectKey::new(GATEWAY_GROUP, "ListenerSet", &meta.namespace, &meta.name);
        let body = StatusBody::Gateway(gateway.status_of_set(set));
        statuses.put(&Arc::new(key), Arc::new(Status { body, notes: Vec::new() }));
    }
}

impl GatewayState<'_> {
    /// How many ListenerSets are accepted.
    pub(crate) fn accepted_sets(&self) -> u32 {
        let accepted = self.sets.iter().filter(|set| self.refusal_of_set(set.id).is_none());
        u32::try_from(accepted.count()).unwrap_or(u32::MAX)
    }

    fn listeners_of_set(&self, id: ListenerSetId) -> impl Iterator<Item = &ListenerState<'_>> {
        self.listeners[self.places(Some(id))].iter()
    }

    /// Why a ListenerSet is not accepted: the reasons of `Accepted` and `Programmed`, and the message.
    fn refusal_of_set(&self, id: ListenerSetId) -> Option<(&'static str, &'static str, &'static str)> {
        if !self.sets[id.place].is_allowed {
            let message = "the Gateway does not allow ListenerSets of this namespace: see its spec.allowedListeners";
            return Some(("NotAllowed", "NotAllowed", message));
        }
        if !self.is_accepted() {
            return Some(("ParentNotAccepted", "ParentNotProgrammed", "the Gateway is not accepted: see its conditions"));
        }
        let is_hopeless = !self.listeners_of_set(id).any(ListenerState::is_valid);
        let message = "no listener can be served: see their conditions";
        is_hopeless.then_some(("ListenersNotValid", "ListenersNotValid", message))
    }

    fn status_of_set(&self, id: ListenerSetId) -> GatewayStatus {
        let set = self.sets[id.place].object;
        let generation = set.meta.generation;
        let mut conditions = match self.refusal_of_set(id) {
            Some((accepted, programmed, message)) => vec![
                Condition::fails("Accepted", accepted, message, generation),
                Condition::fails("Programmed", programmed, message, generation),
            ],
            None => vec![self.set_accepted(id, generation), self.set_programmed(id, generation)],
        };
        conditions.extend(warnings::unsupported(set.spec.unsupported(), generation));
        let listeners = self.listeners_of_set(id).map(|listener| listener.status(self.withheld(), generation));
        GatewayStatus { conditions, listeners: listeners.collect(), ..GatewayStatus::default() }
    }

    fn set_accepted(&self, id: ListenerSetId, generation: i64) -> Condition {
        let bad: Vec<&str> = self.listeners_of_set(id).filter(|it| !it.is_valid()).map(|it| it.spec.name.as_str()).collect();
        if bad.is_empty() {
            return Condition::fine("Accepted", generation);
        }
        let message = format!("listeners that are not served: {}", bad.join(", "));
        Condition::holds("Accepted", "ListenersNotValid", message, generation)
    }

    fn set_programmed(&self, id: ListenerSetId, generation: i64) -> Condition {
        if let Some((_, message)) = self.withheld() {
            return Condition::fails("Programmed", "ParentNotProgrammed", message, generation);
        }
        if self.listeners_of_set(id).any(ListenerState::is_servable) {
            return Condition::fine("Programmed", generation);
        }
        let problems: Vec<_> = self.listeners_of_set(id).flat_map(|it| it.problems.iter().cloned()).collect();
        Condition::summary("Programmed", &problems, generation)
    }
}
