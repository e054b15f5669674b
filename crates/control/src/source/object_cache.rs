//! Copy of the cluster's objects, and marks for what has changed since the last report.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use pailou_api::{Kind, Object, ObjectKey, undecodable::Undecodable};
use pailou_compile::{
    store::{Entry, Store},
    unsupported_kind,
};

use super::{
    change::Scope,
    classes::{self, Held, Holder},
    decoded::{Decoded, Raw, Rejected},
    status_cache::{CachedStatus, StatusCache},
};
use crate::{
    cluster_state::{Json, Objects},
    events::{Events, Regarding},
    metrics::Metrics,
};

/// Most undecodable objects to remember; the cache reports others whenever they come.
const MAX_REJECTED: usize = 10_000;

/// Copy of the cluster's objects.
pub(crate) struct ObjectCache {
    pub(crate) store: Arc<Store>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) held: Arc<Held>,
    /// Whether something is to be compiled that was not.
    pub(crate) is_dirty: bool,
    /// Whether an InferencePool has changed.
    pub(crate) are_pools_dirty: bool,
    /// Undecodable objects, with their generation or version: the cache reports each once.
    rejected: HashMap<ObjectKey, String>,
    /// Values of `controllerName` that are answered to.
    controllers: Vec<String>,
    status_cache: Arc<StatusCache>,
    events: Events,
    metrics: Arc<Metrics>,
}

impl ObjectCache {
    /// An empty cache.
    pub(crate) fn new(controllers: Vec<String>, status_cache: Arc<StatusCache>, events: Events, metrics: Arc<Metrics>) -> Self {
        Self {
            store: Arc::default(),
            objects: Arc::default(),
            held: Arc::default(),
            is_dirty: true,
            are_pools_dirty: false,
            rejected: HashMap::new(),
            controllers,
            status_cache,
            events,
            metrics,
        }
    }

    /// Everything of a scope is this.
    pub(crate) fn replace(&mut self, scope: &Scope, objects: Vec<Decoded>) {
        let listed: BTreeSet<ObjectKey> = objects.iter().map(|decoded| decoded.key.clone()).collect();
        for key in self.keys(scope) {
            if !listed.contains(&key) {
                self.delete(&key);
            }
        }
        objects.into_iter().for_each(|decoded| self.upsert(scope.kind, decoded));
    }

    /// An object is there, or has changed. Most changes are of a status alone: nothing else is read anew then.
    pub(crate) fn observe(&mut self, kind: Kind, raw: Raw) {
        let is_unchanged = |entry: &Entry| raw.is_unchanged(entry.object.meta()) && self.store.undecodable(&raw.key).is_none();
        // The writer of a class's status decides who holds the class.
        let is_read = kind != Kind::GatewayClass && self.store.entry(&raw.key).is_some_and(is_unchanged);
        match is_read.then(|| raw.live()).flatten() {
            Some(live) => self.status_cache.put(&raw.key, live),
            None => self.upsert(kind, raw.read()),
        }
    }

    fn upsert(&mut self, kind: Kind, decoded: Decoded) {
        let entry = match decoded.entry {
            Ok(entry) => entry,
            Err(ref rejected) => return self.undecodable(kind, &decoded, rejected),
        };
        let Decoded { key, live, json, api_version, uid, .. } = decoded;
        self.rejected.remove(&key);
        if let Some(message) = unsupported_kind(kind).filter(|_| self.store.entry(&key).is_none()) {
            tracing::warn!("{key}: {message}");
            self.events.warn(Regarding { key: &key, api_version: &api_version, uid: &uid }, "Serve", "Unsupported", message);
        }
        if let Some(live) = live {
            let holder = classes::holder(&entry, &live, &self.controllers);
            let is_held = matches!(entry.object, Object::GatewayClass(_)) && self.hold(&key, holder, &live);
            self.status_cache.put(&key, live);
            if is_held {
                return;
            }
        }
        self.are_pools_dirty |= matches!(entry.object, Object::InferencePool(_));
        // Most of what comes are statuses that were written. To change what others hold is to copy it first.
        if self.store.entry(&key) != Some(&entry) || self.store.undecodable(&key).is_some() {
            match Arc::make_mut(&mut self.store).upsert(entry) {
                Ok(changed) => self.is_dirty |= changed,
                Err(error) => return tracing::error!("{error}"),
            }
        }
        self.keep(key, json);
    }

    /// Keeps an object of the store as JSON.
    fn keep(&mut self, key: ObjectKey, json: Json) {
        if self.objects.get(&key) != Some(&json) {
            // Both have one key.
            let key = self.store.shared_key(&key).cloned().unwrap_or_else(|| Arc::new(key));
            Arc::make_mut(&mut self.objects).insert(key, json);
        }
    }

    /// Closes the targets of a policy that guards and never decoded. Proxies get it as it is, and close them too.
    fn close(&mut self, decoded: &Decoded, closing: &Entry) {
        let known = self.store.entry(&decoded.key);
        if known.is_some_and(|known| !known.object.is_closing_policy() || known == closing) {
            return;
        }
        match Arc::make_mut(&mut self.store).upsert(closing.clone()) {
            Ok(changed) => self.is_dirty |= changed,
            Err(error) => return tracing::error!("{error}"),
        }
        self.keep(decoded.key.clone(), decoded.json.clone());
    }

    /// Removes an object.
    pub(crate) fn delete(&mut self, key: &ObjectKey) {
        if key.kind == Kind::GatewayClass.name() {
            Arc::make_mut(&mut self.held).remove(&key.name);
        }
        self.status_cache.remove(key);
        self.rejected.remove(key);
        self.take_out(key);
    }

    /// Removes all objects of these scopes.
    pub(crate) fn delete_all(&mut self, scopes: &[Scope]) {
        for key in scopes.iter().flat_map(|scope| self.keys(scope)).collect::<Vec<_>>() {
            self.delete(&key);
        }
    }

    /// Reports the errors of an object. The store keeps the version before it, if there was one.
    fn undecodable(&mut self, kind: Kind, decoded: &Decoded, rejected: &Rejected) {
        let Rejected { errors, undecodable, closing } = rejected;
        // Before the note: an object that comes takes the note away.
        if let Some(closing) = closing {
            self.close(decoded, closing);
        }
        // A class that is someone else's as well is left to that one.
        let is_left = |live: &CachedStatus| kind == Kind::GatewayClass && live.other_writer.is_some();
        if let Some(live) = decoded.live.clone().filter(|live| !is_left(live)) {
            self.status_cache.put(&decoded.key, live);
            if let Some(undecodable) =
                undecodable.as_ref().filter(|undecodable| self.store.undecodable(&decoded.key) != Some(*undecodable))
            {
                self.is_dirty |= Arc::make_mut(&mut self.store).set_undecodable(undecodable.clone());
            }
        }
        // A write of its status makes a new version, but no new generation.
        let generation = decoded.live.as_ref().map(|live| live.generation).filter(|generation| *generation > 0);
        let version = generation.map_or_else(|| decoded.resource_version.clone(), |generation| generation.to_string());
        if self.rejected.get(&decoded.key) == Some(&version) {
            return;
        }
        self.metrics.undecodable(kind);
        if self.rejected.len() < MAX_REJECTED || self.rejected.contains_key(&decoded.key) {
            self.rejected.insert(decoded.key.clone(), version);
        }
        let mut note = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if decoded.live.is_some() && !undecodable.as_ref().is_some_and(Undecodable::says_whom_it_concerns) {
            note.push_str("; its references do not decode either, so that no condition reports this");
        }
        let served = match self.store.entry(&decoded.key) {
            Some(entry) if entry.object.is_closing_policy() => ", its targets are closed",
            Some(_) => ", its last good version stays",
            None => "",
        };
        tracing::warn!("{} does not decode{served}: {note}", decoded.key);
        let regarding = Regarding { key: &decoded.key, api_version: &decoded.api_version, uid: &decoded.uid };
        self.events.warn(regarding, "Read", "Invalid", &note);
    }

    /// Notes who holds a class. Gives back whether another controller does; the class then leaves the store.
    fn hold(&mut self, key: &ObjectKey, holder: Option<Holder>, live: &CachedStatus) -> bool {
        if self.held.get(&key.name) == holder.as_ref() {
            return holder.is_some();
        }
        self.is_dirty = true;
        let Some(holder) = holder else {
            Arc::make_mut(&mut self.held).remove(&key.name);
            tracing::info!("{key}: no other controller holds it any more");
            return false;
        };
        let message = format!(
            "left alone with everything under it: {} has written its status. To hand it over, remove that controller and create \
             the class anew",
            holder.manager
        );
        tracing::warn!("{key} is {message}");
        let regarding = Regarding { key, api_version: &live.api_version, uid: &live.uid };
        self.events.warn(regarding, "Accept", "HeldByAnotherController", &message);
        Arc::make_mut(&mut self.held).insert(key.name.clone(), holder);
        self.take_out(key);
        true
    }

    fn take_out(&mut self, key: &ObjectKey) {
        if self.objects.contains_key(key) || self.store.undecodable(key).is_some() {
            Arc::make_mut(&mut self.objects).remove(key);
            Arc::make_mut(&mut self.store).delete(key);
            self.is_dirty = true;
            self.are_pools_dirty |= key.kind == Kind::InferencePool.name();
        }
    }

    /// Keys of all known objects of a scope, in the store or not.
    fn keys(&self, scope: &Scope) -> Vec<ObjectKey> {
        let class = |name: &String| ObjectKey::new(scope.group, Kind::GatewayClass.name(), "", name);
        let held = self.held.keys().map(class);
        let stored = self.store.of_kind(scope.kind).map(|entry| entry.object.key());
        stored.chain(held).chain(self.rejected.keys().cloned()).filter(|key| scope.covers(key)).collect()
    }
}
