//! Objects that a Gateway's proxies need: its class and itself, objects attached to it, and those that they refer to. Compiling
//! nothing else gives the same ports, clusters and endpoints for that Gateway as compiling everything.
//!
//! A proxy gets no Secret but those that its Gateway and objects attached to it refer to, and may refer to.

mod backends;
mod lead;
mod models;
mod needs;
mod parts;
mod policies;
mod routes;
mod shared;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    Indexed, Settings,
    gateway::Gateways,
    ids::GatewayId,
    index::{Index, Objects},
    store::Store,
};
use pailou_api::{
    ObjectKey,
    references::{References, Referent},
};
use pailou_snapshot::Name;

pub use needs::{Moved, Needs};
use routes::AnyRoute;
use shared::Shared;
use walk::{NeededObjects, Walk, address};

/// Objects that one Gateway needs; none if there is no such Gateway, or its class is not served. For many Gateways of one store
/// see [`Reaches`].
pub fn reach(store: &Store, settings: &Settings, gateway: &Name) -> BTreeSet<ObjectKey> {
    let indexed = Indexed::new(store);
    Reaches::new(&indexed, settings).of(gateway).into_iter().cloned().collect()
}

/// The Gateways to which a route is attached that refers to such an object.
pub(crate) fn gateways_before(
    index: &Index<'_>,
    gateways: &Gateways<'_>,
    is_meant: impl Fn(Referent<'_>) -> bool,
) -> BTreeSet<GatewayId> {
    let leads_there = |route: &AnyRoute<'_>| {
        let mut leads = false;
        route.references(&mut |reference| leads |= is_meant(reference.to));
        leads
    };
    let routes = routes::attached(index, gateways).into_iter();
    routes.filter(|(_, routes)| routes.iter().any(leads_there)).map(|(gateway, _)| gateway).collect()
}

/// A store, indexed by the needs of Gateways. Building it takes time in proportion to the store, each answer in proportion to
/// the answer and to the Pods in the namespaces of its pools. Build it anew when the store changes, or use [`Needs`], which
/// stays up to date.
pub struct Reaches<'a> {
    objects: &'a Objects,
    /// The store's keys in their order, and their places in it by the addresses of the objects' metadata.
    keys: Vec<&'a ObjectKey>,
    places: HashMap<usize, usize>,
    shared: Shared<'a>,
    /// By Gateway: the routes attached to it.
    routes: BTreeMap<GatewayId, Vec<AnyRoute<'a>>>,
}

impl<'a> Reaches<'a> {
    /// Looks at what all Gateways share.
    pub fn new(indexed: &'a Indexed, settings: &'a Settings) -> Self {
        let Indexed { store, objects } = indexed;
        let keys = store.iter().map(|(key, _)| key).collect();
        let places = store.iter().enumerate().map(|(place, (_, entry))| (address(entry.object.meta()), place)).collect();
        let (shared, _) = objects.track(|index| Shared::new(index, settings));
        let (routes, _) = objects.track(|index| routes::attached(index, &shared.gateways));
        Self { objects, keys, places, shared, routes }
    }

    /// Objects that a Gateway needs, in the order of keys.
    pub fn of(&self, gateway: &Name) -> Vec<&'a ObjectKey> {
        let id = self.shared.gateways.find(&gateway.namespace, &gateway.name);
        let found = id.map(|id| self.found(id)).unwrap_or_default();
        let mut places: Vec<usize> = found.addresses().filter_map(|address| self.places.get(&address).copied()).collect();
        places.sort_unstable();
        places.into_iter().map(|place| self.keys[place]).collect()
    }

    fn found(&self, gateway: GatewayId) -> NeededObjects {
        let walk = |index: &Index<'a>| {
            let mut walk = Walk::new(index, &self.shared);
            walk.gateway(gateway);
            for route in self.routes.get(&gateway).into_iter().flatten() {
                walk.namespace_of(*route, gateway);
                walk.route(*route);
            }
            std::mem::take(&mut walk.leads).into_iter().for_each(|lead| walk.backend(lead));
            walk.found
        };
        self.objects.track(walk).0
    }
}
