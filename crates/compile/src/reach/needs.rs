//! Needs of all Gateways, kept up to date as objects change.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use crate::{
    Indexed, Settings,
    index::{Objects, Reads, Touched},
    refers_alike,
    store::{Change, Store},
};
use pailou_api::ObjectKey;
use pailou_snapshot::Name;

use super::{
    lead::Lead,
    parts::{Keys, Part, RoutePart},
    routes::{self, AnyRoute},
    shared::Shared,
};

/// The needs of the Gateways of a changing store: the same as [`Reaches`](super::Reaches) finds. A change works them out anew
/// for the routes and backends that it concerns, and for all if it concerns something they share: a Gateway, a policy.
#[derive(Debug, Default)]
pub struct Needs {
    indexed: Indexed,
    keys: Keys,
    /// The settings that say which Gateways are ours.
    served: Option<(Vec<String>, Vec<String>)>,
    /// Lookups for the shared part.
    shared: Reads,
    routes: HashMap<Arc<ObjectKey>, RoutePart>,
    /// The tables that anything was ever looked up in for a route, a bit each.
    tables: u64,
    backends: HashMap<Arc<ObjectKey>, Backend>,
    gateways: HashMap<Name, Gateway>,
}

/// A backend that routes lead to.
#[derive(Debug)]
struct Backend {
    part: Part,
    /// How many routes do.
    routes: usize,
}

/// Needs of one Gateway.
#[derive(Debug, Default)]
struct Gateway {
    own: Part,
    /// How often each object is needed.
    objects: HashMap<Arc<ObjectKey>, u32>,
    /// How many of its routes lead to each backend.
    leads: HashMap<Arc<ObjectKey>, u32>,
    moved: Vec<Arc<ObjectKey>>,
    is_new: bool,
}

/// Objects that a Gateway may need, or not need any more, since the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved<'a> {
    /// Any.
    Any,
    /// These, and no others.
    These(&'a [Arc<ObjectKey>]),
}

impl Needs {
    /// Takes in what has changed. Gives the keys of the objects that came, went or are other ones than before.
    pub fn update(&mut self, store: &Store, settings: &Settings) -> Vec<Arc<ObjectKey>> {
        for gateway in self.gateways.values_mut() {
            gateway.moved.clear();
            gateway.is_new = false;
        }
        let all = self.indexed.differences(store);
        let keys = all.iter().map(|change| change.key.clone()).collect();
        self.keys.apply(&all);
        let is_alike = |change: &Change| change.before.as_ref().zip(change.now.as_ref()).is_some_and(|(a, b)| refers_alike(a, b));
        let (alike, changes): (Vec<_>, Vec<_>) = all.into_iter().partition(is_alike);
        self.indexed.objects.apply(&alike);
        let touched = self.indexed.objects.apply(&changes);
        let served = Some((settings.controllers.clone(), settings.classes.clone()));
        if self.served != served || self.shared.are_touched(&touched) {
            self.served = served;
            self.everything(settings);
        } else if !changes.is_empty() {
            self.some(&changes, &touched, settings);
        }
        keys
    }

    /// Objects that a Gateway needs, in no order; none if there is no such Gateway, or its class is not served.
    pub fn of(&self, gateway: &Name) -> impl ExactSizeIterator<Item = &Arc<ObjectKey>> {
        static NONE: std::sync::LazyLock<HashMap<Arc<ObjectKey>, u32>> = std::sync::LazyLock::new(HashMap::new);
        self.gateways.get(gateway).map_or(&*NONE, |gateway| &gateway.objects).keys()
    }

    /// Whether a Gateway needs an object.
    pub fn has(&self, gateway: &Name, object: &ObjectKey) -> bool {
        self.gateways.get(gateway).is_some_and(|gateway| gateway.objects.contains_key(object))
    }

    /// Objects that may have come or gone for a Gateway by the last change.
    pub fn moved(&self, gateway: &Name) -> Moved<'_> {
        match self.gateways.get(gateway) {
            Some(gateway) if !gateway.is_new => Moved::These(&gateway.moved),
            _ => Moved::Any,
        }
    }

    fn everything(&mut self, settings: &Settings) {
        let Self { indexed, keys, .. } = self;
        let objects = &indexed.objects;
        let (shared, reads) = objects.track(|index| Shared::new(index, settings));
        self.shared = reads;
        self.gateways = HashMap::new();
        self.routes = HashMap::new();
        self.backends = HashMap::new();
        let mut parts = Parts { objects, backends: &mut self.backends, gateways: &mut self.gateways };
        for (id, state) in shared.gateways.list.iter() {
            let own = Part::of_gateway(objects, &shared, keys, id);
            let gateway = parts.gateways.entry(state.name.clone()).or_default();
            own.keys.iter().for_each(|key| gateway.gain(key));
            (gateway.own, gateway.is_new) = (own, true);
        }
        for route in objects.track(routes::all).0 {
            let (part, leads) = RoutePart::new(objects, &shared, keys, route);
            parts.add(&part, &leads, &shared, keys);
            self.tables |= part.part.tables();
            if let Some(key) = keys.of_route(route) {
                self.routes.insert(key, part);
            }
        }
        self.gateways.values_mut().for_each(|gateway| gateway.moved = Vec::new());
    }

    fn some(&mut self, changes: &[Change], touched: &Touched, settings: &Settings) {
        let Self { indexed, keys, routes, tables, backends, gateways, .. } = self;
        let changed: HashMap<&ObjectKey, &Change> = changes.iter().map(|change| (&*change.key, change)).collect();
        let are_routes = changes
            .iter()
            .filter(|change| [&change.before, &change.now].into_iter().flatten().any(|object| AnyRoute::of(object).is_some()));
        // Mostly no route's lookups have changed: this notices without a look at all of them.
        let may_be_touched = routes.iter().take(if *tables & touched.tables() == 0 { 0 } else { usize::MAX });
        let touched_routes = may_be_touched.filter(|(key, it)| it.part.is_touched(touched) && !changed.contains_key(&***key));
        let stale_routes: Vec<_> = touched_routes.map(|(key, _)| key.clone()).chain(are_routes.map(|it| it.key.clone())).collect();
        let is_stale = |key: &ObjectKey, part: &Part| part.is_touched(touched) || changed.contains_key(key);
        let stale_backends: Vec<_> =
            backends.iter().filter(|(key, it)| is_stale(key, &it.part)).map(|(key, _)| key.clone()).collect();
        let stale_gateways: Vec<_> =
            gateways.iter().filter(|(_, it)| it.own.is_touched(touched)).map(|(name, _)| name.clone()).collect();
        if stale_routes.is_empty() && stale_backends.is_empty() && stale_gateways.is_empty() {
            return;
        }
        let objects = &indexed.objects;
        let (shared, _) = objects.track(|index| Shared::new(index, settings));
        let mut parts = Parts { objects, backends, gateways };
        for name in stale_gateways {
            if let Some(id) = shared.gateways.find(&name.namespace, &name.name) {
                parts.renew_gateway(&name, Part::of_gateway(objects, &shared, keys, id));
            }
        }
        for key in stale_backends {
            let lead = indexed.store.entry(&key).and_then(|entry| Lead::of(&entry.object));
            let part = lead.map(|lead| Part::of_backend(objects, &shared, keys, lead)).unwrap_or_default();
            parts.renew_backend(&key, part);
        }
        for key in stale_routes {
            if let Some(before) = routes.remove(&key) {
                parts.remove(&before);
            }
            let Some(route) = indexed.store.entry(&key).and_then(|entry| AnyRoute::of(&entry.object)) else { continue };
            let (part, leads) = RoutePart::new(objects, &shared, keys, route);
            parts.add(&part, &leads, &shared, keys);
            *tables |= part.part.tables();
            routes.insert(key, part);
        }
    }
}

/// Sums of the routes' needs.
struct Parts<'n, 'a> {
    objects: &'a Objects,
    backends: &'n mut HashMap<Arc<ObjectKey>, Backend>,
    gateways: &'n mut HashMap<Name, Gateway>,
}

impl<'a> Parts<'_, 'a> {
    fn add(&mut self, route: &RoutePart, leads: &[(Arc<ObjectKey>, Lead<'a>)], shared: &Shared<'a>, keys: &Keys) {
        for (key, lead) in leads {
            let backend = self.backends.entry(key.clone());
            let new = || Backend { part: Part::of_backend(self.objects, shared, keys, *lead), routes: 0 };
            backend.or_insert_with(new).routes += 1;
        }
        for (name, namespace) in &route.gateways {
            let gateway = self.gateways.entry(name.clone()).or_default();
            route.part.keys.iter().chain(namespace).for_each(|key| gateway.gain(key));
            for key in &route.leads {
                let count = gateway.leads.entry(key.clone()).or_default();
                *count += 1;
                if *count == 1
                    && let Some(backend) = self.backends.get(key)
                {
                    backend.part.keys.iter().for_each(|key| gateway.gain(key));
                }
            }
        }
    }

    fn remove(&mut self, route: &RoutePart) {
        for (name, namespace) in &route.gateways {
            let Some(gateway) = self.gateways.get_mut(name) else { continue };
            route.part.keys.iter().chain(namespace).for_each(|key| gateway.lose(key));
            for key in &route.leads {
                if less(&mut gateway.leads, key)
                    && let Some(backend) = self.backends.get(key)
                {
                    backend.part.keys.iter().for_each(|key| gateway.lose(key));
                }
            }
        }
        for key in &route.leads {
            if let Entry::Occupied(mut backend) = self.backends.entry(key.clone()) {
                backend.get_mut().routes -= 1;
                if backend.get().routes == 0 {
                    backend.remove();
                }
            }
        }
    }

    fn renew_backend(&mut self, key: &Arc<ObjectKey>, part: Part) {
        let Some(backend) = self.backends.get_mut(key) else { return };
        let before = std::mem::replace(&mut backend.part, part);
        for gateway in self.gateways.values_mut().filter(|gateway| gateway.leads.contains_key(key)) {
            backend.part.keys.iter().for_each(|key| gateway.gain(key));
            before.keys.iter().for_each(|key| gateway.lose(key));
        }
    }

    fn renew_gateway(&mut self, name: &Name, part: Part) {
        let Some(gateway) = self.gateways.get_mut(name) else { return };
        part.keys.iter().for_each(|key| gateway.gain(key));
        std::mem::replace(&mut gateway.own, part).keys.iter().for_each(|key| gateway.lose(key));
    }
}

impl Gateway {
    fn gain(&mut self, key: &Arc<ObjectKey>) {
        let count = self.objects.entry(key.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.moved.push(key.clone());
        }
    }

    fn lose(&mut self, key: &Arc<ObjectKey>) {
        if less(&mut self.objects, key) {
            self.moved.push(key.clone());
        }
    }
}

/// Counts one less; whether none is left.
fn less(counts: &mut HashMap<Arc<ObjectKey>, u32>, key: &Arc<ObjectKey>) -> bool {
    let Some(count) = counts.get_mut(key) else { return false };
    *count -= 1;
    let is_gone = *count == 0;
    if is_gone {
        counts.remove(key);
    }
    is_gone
}
