//! The part of a cluster that an endpoint picker follows: one InferencePool, the Pods that it selects, the objects that rank its
//! requests, its configuration, and how the engines' certificates are verified.
//!
//! Everything is in the pool's namespace, so that a Role there is enough. The API server's discovery, which every service
//! account may read, tells which kinds the cluster serves.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kube::Client;
use pailou_api::{
    Kind, NamespaceName, Object, ObjectKey, endpoint_picker_config::ConfigurationSource, inference_pool::INFERENCE_GROUP,
};
use pailou_compile::store::Store;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time,
};

use crate::{
    Connection, Metrics,
    source::{
        change::{Change, Scope},
        decoded::Decoded,
        pods,
        scopes::Scopes,
    },
};

/// Longest queue of changes; watches wait while it is full.
const CHANGES: usize = 1024;
/// A burst is over when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(5);
/// A burst that does not end is handed on after this long all the same.
const BURST: Duration = Duration::from_millis(50);
/// Interval between two lookups of kinds that the cluster does not serve yet.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(30);
/// Pause after a lookup that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Kinds that a picker reads beside the pool and its Pods.
const MORE: [Kind; 4] = [Kind::InferenceObjective, Kind::InferenceModelRewrite, Kind::InferenceModel, Kind::BackendTlsPolicy];

/// The pool that is followed.
#[derive(Clone, Debug)]
pub struct PoolName {
    /// Its API group; the newer one unless given.
    pub group: Option<&'static str>,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: String,
}

/// A pool that is followed. It ends when it is dropped.
#[derive(Debug)]
pub struct PoolFollower {
    objects: watch::Receiver<Option<Arc<Store>>>,
    _tasks: JoinSet<()>,
}

impl PoolFollower {
    /// Begins to watch. Needs the runtime.
    pub fn start(connection: Connection, pool: PoolName) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (send, changes) = mpsc::channel(CHANGES);
        let (publish, objects) = watch::channel(None);
        let namespaces = vec![pool.namespace.clone()];
        let scopes = Scopes::new(connection.client.clone(), namespaces, connection.origin, send.clone(), metrics);
        let group = pool.group.unwrap_or(INFERENCE_GROUP);
        let mut tasks = JoinSet::new();
        tasks.spawn(discover(connection.client, group, send));
        let mut follower = Follower { scopes, changes, name: pool.name, store: Arc::default(), publish };
        tasks.spawn(async move { follower.run().await });
        Self { objects, _tasks: tasks }
    }

    /// The objects; `None` until the first lists are complete.
    pub fn objects(&self) -> watch::Receiver<Option<Arc<Store>>> {
        self.objects.clone()
    }
}

/// Reports the kinds that the cluster serves, until all are found or the receiver is gone.
async fn discover(client: Client, group: &'static str, changes: mpsc::Sender<Change>) {
    let more = MORE.iter().flat_map(|kind| kind.groups().iter().map(|group| (*kind, *group)));
    let mut unserved: Vec<(Kind, &'static str)> = [(Kind::InferencePool, group)].into_iter().chain(more).collect();
    let mut is_listed = false;
    let mut is_failing = false;
    while !unserved.is_empty() && !changes.is_closed() {
        let mut missing = Vec::new();
        let mut error = None;
        for (kind, group) in unserved {
            match served(&client, kind, group).await {
                Ok(Some((version, plural))) => {
                    let _ = changes.send(Change::Served { kind, group, version, plural }).await;
                }
                Ok(None) => missing.push((kind, group)),
                Err(failure) => {
                    error = Some(failure);
                    missing.push((kind, group));
                }
            }
        }
        unserved = missing;
        match error {
            Some(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!("cannot look up the kinds that the API server serves, retrying: {error}");
                }
                time::sleep(RETRY_INTERVAL).await;
                continue;
            }
            None => is_failing = false,
        }
        if !std::mem::replace(&mut is_listed, true) {
            let _ = changes.send(Change::Listed).await;
        }
        time::sleep(DISCOVERY_INTERVAL).await;
    }
}

/// The newest version of a kind that both the cluster and this program know, and its plural name.
async fn served(client: &Client, kind: Kind, group: &str) -> Result<Option<(&'static str, String)>, kube::Error> {
    for version in kind.versions(group) {
        match client.list_api_group_resources(&format!("{group}/{version}")).await {
            Ok(list) => {
                if let Some(resource) = list.resources.into_iter().find(|it| it.kind == kind.name() && !it.name.contains('/')) {
                    return Ok(Some((version, resource.name)));
                }
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

struct Follower {
    scopes: Scopes,
    changes: mpsc::Receiver<Change>,
    name: String,
    store: Arc<Store>,
    publish: watch::Sender<Option<Arc<Store>>>,
}

impl Follower {
    async fn run(&mut self) {
        while let Some(change) = self.changes.recv().await {
            self.take(change);
            let end = time::Instant::now() + BURST;
            while let Ok(Some(change)) = time::timeout_at(end.min(time::Instant::now() + QUIET), self.changes.recv()).await {
                self.take(change);
            }
            let gone = self.scopes.select_pods(pods::selectors(&self.store));
            self.remove(|key| gone.iter().any(|scope| scope.covers(key)));
            if self.needs_config_maps() {
                self.scopes.watch_config_maps();
            }
            // While a new selector's Pods are being listed, the former ones stay.
            let is_known = self.publish.borrow().is_some() || self.scopes.is_synced();
            if is_known && self.publish.borrow().as_ref().is_none_or(|before| !Arc::ptr_eq(before, &self.store)) {
                self.publish.send_replace(Some(self.store.clone()));
            }
        }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Replace(run, objects) if self.scopes.is_current(&run) => {
                self.scopes.synced(&run);
                self.replace(&run.scope, objects);
            }
            Change::Upsert(run, raw) if self.scopes.is_current(&run) => self.upsert(raw.read()),
            Change::Delete(run, key) if self.scopes.is_current(&run) => self.remove(|known| *known == key),
            Change::Replace(..) | Change::Upsert(..) | Change::Delete(..) | Change::Unserved { .. } | Change::Bundles(_) => {}
            Change::Served { kind, group, version, plural } => self.scopes.serve(kind, group, version, &plural),
            Change::Listed => self.scopes.listed_kinds(),
        }
    }

    /// Whether certificates of the pool's engines are verified by authorities in ConfigMaps, or its configuration is in one.
    fn needs_config_maps(&self) -> bool {
        self.store.iter().any(|(_, entry)| match &entry.object {
            Object::InferencePool(pool) => {
                matches!(ConfigurationSource::of(pool), Some(ConfigurationSource::Named { .. }))
            }
            Object::BackendTlsPolicy(policy) => {
                let is_of_pool =
                    policy.spec.target_refs.iter().any(|it| *it.kind == *"InferencePool" && it.name.as_str() == self.name);
                is_of_pool && policy.spec.validation.ca_certificate_refs.iter().any(|it| it.kind == "ConfigMap")
            }
            _ => false,
        })
    }

    fn replace(&mut self, scope: &Scope, objects: Vec<Decoded>) {
        let listed: BTreeSet<ObjectKey> = objects.iter().map(|decoded| decoded.key.clone()).collect();
        self.remove(|key| scope.covers(key) && !listed.contains(key));
        objects.into_iter().for_each(|decoded| self.upsert(decoded));
    }

    /// An object is there, or has changed. One that cannot be read leaves what it was before.
    fn upsert(&mut self, decoded: Decoded) {
        match decoded.entry {
            Ok(entry) => {
                if matches!(&entry.object, Object::InferencePool(pool) if pool.meta.name != self.name) {
                    return;
                }
                if self.store.entry(&decoded.key).is_some_and(|known| known.object == entry.object) {
                    return;
                }
                if let Err(error) = Arc::make_mut(&mut self.store).upsert(entry) {
                    tracing::error!("{error}");
                }
            }
            Err(rejected) => {
                let note = rejected.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::warn!("{} does not decode: {note}", decoded.key);
            }
        }
    }

    fn remove(&mut self, is_gone: impl Fn(&ObjectKey) -> bool) {
        let gone: Vec<ObjectKey> = self.store.iter().map(|(key, _)| key).filter(|key| is_gone(key)).cloned().collect();
        for key in gone {
            Arc::make_mut(&mut self.store).delete(&key);
        }
    }
}
