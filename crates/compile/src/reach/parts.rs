//! Needs of one route, one backend and one Gateway by itself, each with its lookups.

use std::{collections::HashMap, sync::Arc};

use crate::{
    ids::GatewayId,
    index::{Index, Objects, Reads, Touched},
    store::Change,
};
use pailou_api::ObjectKey;
use pailou_snapshot::Name;

use super::{
    lead::Lead,
    routes::AnyRoute,
    shared::Shared,
    walk::{NeededObjects, Walk, address},
};

/// Objects that are needed, and what was looked up to find them.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) keys: Vec<Arc<ObjectKey>>,
    reads: Reads,
}

/// Needs of a route.
#[derive(Debug)]
pub(super) struct RoutePart {
    pub(super) part: Part,
    /// The Gateways that it is attached to, each with the namespace whose labels it looks at.
    pub(super) gateways: Vec<(Name, Option<Arc<ObjectKey>>)>,
    /// Its backends, each once.
    pub(super) leads: Vec<Arc<ObjectKey>>,
}

/// Keys by where the objects' metadata is.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<usize, Arc<ObjectKey>>);

impl Keys {
    /// Takes changes in, whose objects are all still there.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        for before in changes.iter().filter_map(|change| change.before.as_ref()) {
            self.0.remove(&address(before.meta()));
        }
        for change in changes {
            if let Some(now) = &change.now {
                self.0.insert(address(now.meta()), change.key.clone());
            }
        }
    }

    fn of(&self, found: &NeededObjects) -> Vec<Arc<ObjectKey>> {
        found.addresses().filter_map(|address| self.0.get(&address).cloned()).collect()
    }

    /// The key of a route.
    pub(super) fn of_route(&self, route: AnyRoute<'_>) -> Option<Arc<ObjectKey>> {
        self.0.get(&address(route.identity().1)).cloned()
    }

    /// The key of a backend.
    pub(super) fn of_lead(&self, lead: Lead<'_>) -> Option<Arc<ObjectKey>> {
        self.0.get(&address(lead.meta())).cloned()
    }
}

impl Part {
    pub(super) fn is_touched(&self, touched: &Touched) -> bool {
        self.reads.are_touched(touched)
    }

    /// The tables that anything was looked up in, a bit each.
    pub(super) fn tables(&self) -> u64 {
        self.reads.tables()
    }

    fn walk<'a>(objects: &'a Objects, shared: &Shared<'a>, keys: &Keys, walk: impl FnOnce(&mut Walk<'_, 'a>)) -> Self {
        let (keys, reads) = objects.track(|index| {
            let mut steps = Walk::new(index, shared);
            walk(&mut steps);
            keys.of(&steps.found)
        });
        Self { keys, reads }
    }

    /// Needs of a Gateway by itself.
    pub(super) fn of_gateway<'a>(objects: &'a Objects, shared: &Shared<'a>, keys: &Keys, gateway: GatewayId) -> Self {
        Self::walk(objects, shared, keys, |walk| walk.gateway(gateway))
    }

    /// Needs of a backend.
    pub(super) fn of_backend<'a>(objects: &'a Objects, shared: &Shared<'a>, keys: &Keys, lead: Lead<'a>) -> Self {
        Self::walk(objects, shared, keys, |walk| walk.backend(lead))
    }
}

impl RoutePart {
    /// Needs of a route, with its backends.
    pub(super) fn new<'a>(
        objects: &'a Objects,
        shared: &Shared<'a>,
        keys: &Keys,
        route: AnyRoute<'a>,
    ) -> (Self, Vec<(Arc<ObjectKey>, Lead<'a>)>) {
        let (found, reads) = objects.track(|index| {
            let gateways = Self::gateways(index, shared, keys, route);
            let mut walk = Walk::new(index, shared);
            if !gateways.is_empty() {
                walk.route(route);
            }
            (gateways, keys.of(&walk.found), walk.leads)
        });
        let (gateways, found, reached) = found;
        let mut leads: Vec<(Arc<ObjectKey>, Lead<'a>)> = Vec::new();
        for lead in reached {
            if let Some(key) = keys.of_lead(lead).filter(|key| leads.iter().all(|(known, _)| known != key)) {
                leads.push((key, lead));
            }
        }
        let keys = leads.iter().map(|(key, _)| key.clone()).collect();
        (Self { part: Part { keys: found, reads }, gateways, leads: keys }, leads)
    }

    fn gateways<'a>(
        index: &Index<'a>,
        shared: &Shared<'a>,
        keys: &Keys,
        route: AnyRoute<'a>,
    ) -> Vec<(Name, Option<Arc<ObjectKey>>)> {
        let gateway = |id: GatewayId| {
            let mut labels = Walk::new(index, shared);
            labels.namespace_of(route, id);
            (shared.gateways[id].name.clone(), keys.of(&labels.found).pop())
        };
        route.gateways(index, &shared.gateways).into_iter().map(gateway).collect()
    }
}
