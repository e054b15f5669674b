//! What a Gateway's proxies need of a cluster's objects: its class and itself, what is attached to it, and what that refers to.
//! Compiling nothing else gives the same ports, clusters and endpoints for that Gateway as compiling everything.
//!
//! A proxy is given no Secret but those that its Gateway and what is attached to it refer to, and may refer to.

mod backends;
mod policies;
mod routes;
mod walk;

use std::collections::{BTreeSet, HashMap};

use crate::{
    compile::{Indexed, Settings, class, gateway::Gateways, index::Index},
    resources::{ObjectKey, refs::BackendObjectReference},
    snapshot::Name,
    status::Statuses,
    store::Store,
};

use backends::Models;
use policies::Policies;
use routes::AnyRoute;
use walk::{Walk, address};

/// What one Gateway needs; nothing where there is no such Gateway, or its class is not served. For many Gateways of one store
/// see [`Reaches`].
pub fn reach(store: &Store, settings: &Settings, gateway: &Name) -> BTreeSet<ObjectKey> {
    let indexed = Indexed::new(store);
    Reaches::new(&indexed, settings).of(gateway).into_iter().cloned().collect()
}

/// The places of the Gateways to which a route is attached that leads to such a backend. It is told the backend's namespace with it.
pub(crate) fn gateways_before(
    index: &Index,
    gateways: &Gateways<'_>,
    is_meant: impl Fn(&BackendObjectReference, &str) -> bool,
) -> BTreeSet<usize> {
    let leads_there = |route: &AnyRoute<'_>| {
        let (_, meta) = route.identity();
        let references = route.references();
        references.backends.iter().any(|to| is_meant(to, to.namespace.as_deref().unwrap_or(&meta.namespace)))
    };
    let routes = routes::attached(index, gateways).into_iter().enumerate();
    routes.filter(|(_, routes)| routes.iter().any(leads_there)).map(|(place, _)| place).collect()
}

/// A store, indexed for asking what Gateways need. To be made anew when the store changes: it takes time in proportion to the
/// store, and each answer in proportion to the answer, and to the Pods in the namespaces of its pools.
pub struct Reaches<'a> {
    /// The store's keys in their order, and their places in it by the addresses of the objects' metadata.
    keys: Vec<&'a ObjectKey>,
    places: HashMap<usize, usize>,
    index: &'a Index,
    settings: &'a Settings,
    gateways: Gateways<'a>,
    /// By Gateway: the routes attached to it.
    routes: Vec<Vec<AnyRoute<'a>>>,
    policies: Policies<'a>,
    models: Models<'a>,
}

impl<'a> Reaches<'a> {
    /// Looks at what all Gateways share.
    pub fn new(indexed: &'a Indexed, settings: &'a Settings) -> Self {
        let Indexed { store, index } = indexed;
        let keys = store.iter().map(|(key, _)| key).collect();
        let places = store.iter().enumerate().map(|(place, (_, entry))| (address(entry.object.meta()), place)).collect();
        let mut unread = Statuses::default();
        let classes = class::classes(index, settings, &mut unread);
        let gateways = Gateways::new(index, &classes, settings, &mut unread);
        let routes = routes::attached(index, &gateways);
        let policies = Policies::new(index);
        let models = Models::new(index);
        Self { keys, places, index, settings, gateways, routes, policies, models }
    }

    /// What a Gateway needs, in the order of keys.
    pub fn of(&self, gateway: &Name) -> Vec<&'a ObjectKey> {
        let place = self.gateways.find(&gateway.namespace, &gateway.name);
        let found = place.map(|place| Walk::new(self).gateway(place)).unwrap_or_default();
        let mut places: Vec<usize> = found.addresses().filter_map(|address| self.places.get(&address).copied()).collect();
        places.sort_unstable();
        places.into_iter().map(|place| self.keys[place]).collect()
    }
}
