//! ListenerSets: listeners that are added to a Gateway, and what becomes of them.

use std::{collections::HashMap, ops::Range};

use pailou_api::{Gateway, ListenerSet, refs::GATEWAY_GROUP};
use pailou_snapshot::{ListenerName, Name};

use super::{
    grants::Referrer,
    ids::ListenerSetId,
    index::{Index, name_of},
    listener::{ListenerState, in_namespaces},
};

/// A ListenerSet of a Gateway that is served.
pub(crate) struct ListenerSetState<'a> {
    pub(crate) object: &'a ListenerSet,
    /// Whether the Gateway allows it.
    pub(crate) id: ListenerSetId,
    pub(crate) is_allowed: bool,
    /// The places of its listeners among the Gateway's.
    pub(crate) places: Range<usize>,
}

/// ListenerSets by the namespace and name of the Gateway that they ask for, the oldest first.
pub(crate) type ByGateway<'a> = HashMap<(&'a str, &'a str), Vec<&'a ListenerSet>>;

/// Finds which Gateway each asks for.
pub(crate) fn by_gateway<'a>(index: &Index<'a>) -> ByGateway<'a> {
    let mut all = ByGateway::new();
    for set in index.listener_sets.iter() {
        let parent = &set.spec.parent_ref;
        if parent.group == GATEWAY_GROUP && parent.kind == "Gateway" {
            let namespace = parent.namespace.as_deref().unwrap_or(&set.meta.namespace);
            all.entry((namespace, &parent.name)).or_default().push(set);
        }
    }
    all
}

impl<'a> ListenerSetState<'a> {
    /// Judges whether a Gateway allows a ListenerSet.
    pub(crate) fn new(index: &Index<'_>, gateway: &Gateway, object: &'a ListenerSet, id: ListenerSetId) -> Self {
        let allowed = &gateway.spec.allowed_listeners.namespaces;
        let (own, its) = (&gateway.meta.namespace, &object.meta.namespace);
        let is_allowed = in_namespaces(index, allowed.from, allowed.selector.as_ref(), own, its);
        Self { object, id, is_allowed, places: 0..0 }
    }

    /// Its listeners.
    pub(crate) fn listeners(&self, index: &Index<'_>, gateway: &Name) -> Vec<ListenerState<'a>> {
        let owner = Referrer { group: GATEWAY_GROUP, kind: "ListenerSet", namespace: &self.object.meta.namespace };
        let listeners = self.object.spec.listeners.iter().map(|spec| {
            let set = Some(name_of(&self.object.meta));
            let name = ListenerName { gateway: gateway.clone(), set, section: spec.name.as_str().into() };
            ListenerState { set: Some(self.id), ..ListenerState::new(index, spec, owner, name) }
        });
        listeners.collect()
    }
}
