//! Brings the cluster to what is planned, as leader, and tells the compiler what has become of it, on every replica.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service, ServiceAccount},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use pailou_config::{
    compile::Settings,
    resources::{Gateway, ObjectKey, refs::GATEWAY_GROUP},
    snapshot::Name,
    status::StatusBody,
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{self, Instant},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Options,
    children::{self, Children},
    names,
    plan::{Plan, plans},
    render::{Rendered, render},
};
use crate::{FIELD_MANAGER, Published, backoff::Backoff, leader::Leadership};

/// Data planes that are applied at the same time.
const CONCURRENCY: usize = 8;
/// How often everything is applied again, whether or not it seems to have changed.
const RESYNC: Duration = Duration::from_secs(600);

/// What the provisioner listens to and writes to.
pub(crate) struct Provisioner {
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) published: watch::Receiver<Option<Published>>,
    /// The authorities of the feed, once they are known.
    pub(crate) authorities: watch::Receiver<Option<Arc<str>>>,
    pub(crate) leadership: Leadership,
    pub(crate) settings: watch::Sender<Settings>,
}

/// What identifies an object that was applied: its kind, namespace and name.
type Key = (String, String, String);

/// An object as it was applied last.
struct Applied {
    /// Digest of what was sent.
    wanted: u64,
    /// Digest of what the API server then had.
    live: u64,
}

struct State {
    applied: HashMap<Key, Applied>,
    backoff: Backoff,
    retry: Option<Instant>,
    resync: Instant,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Provisioner {
    /// Works until the controller stops.
    pub(crate) async fn run(mut self) {
        let (send, mut children) = watch::channel(Children::default());
        let follower = tokio::spawn(children::follow(self.client.clone(), self.options.clone(), send));
        let _follower = AbortOnDrop(follower.abort_handle());
        let mut state = State {
            applied: HashMap::new(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(20)),
            retry: None,
            resync: Instant::now() + RESYNC,
        };
        loop {
            self.step(&mut state, &children).await;
            let retry = async {
                match state.retry {
                    Some(at) => time::sleep_until(at).await,
                    None => pending().await,
                }
            };
            let leads = self.leadership.leads();
            let turn = async { if leads { self.leadership.lost().await } else { self.leadership.gained().await } };
            tokio::select! {
                changed = self.published.changed() => if changed.is_err() { return },
                changed = children.changed() => if changed.is_err() { return },
                changed = self.authorities.changed() => if changed.is_err() { return },
                () = turn => state.applied.clear(),
                () = retry => state.retry = None,
                () = time::sleep_until(state.resync) => {
                    state.applied.clear();
                    state.resync = Instant::now() + RESYNC;
                }
            }
        }
    }

    async fn step(&mut self, state: &mut State, children: &watch::Receiver<Children>) {
        let Some(published) = self.published.borrow_and_update().clone() else { return };
        let children = children.borrow().clone();
        let plans = plans(&published);
        self.tell(&plans, &children);
        let authorities = self.authorities.borrow_and_update().clone();
        let Some(authorities) = authorities.filter(|_| children.is_known && self.leadership.leads()) else { return };
        if state.retry.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let went_well =
            self.apply_all(state, &plans, &children, &authorities).await & self.delete_strays(&published, &plans, &children).await;
        state.retry = if went_well {
            state.backoff.reset();
            None
        } else {
            Some(Instant::now() + state.backoff.failed())
        };
    }

    /// Tells the compiler what is known of the data planes.
    fn tell(&self, plans: &BTreeMap<Name, Plan>, children: &Children) {
        let known = plans.iter().filter_map(|(gateway, plan)| {
            let plane = children.data_plane(plan, &names::data_plane(&gateway.name))?;
            Some((gateway.clone(), plane))
        });
        let known: BTreeMap<_, _> = known.collect();
        self.settings.send_if_modified(|settings| {
            let changed = settings.data_planes != known;
            settings.data_planes = known;
            changed
        });
    }

    /// Applies what differs from what was applied, or was changed by somebody since. Gives back whether all of it went well.
    async fn apply_all(&self, state: &mut State, plans: &BTreeMap<Name, Plan>, children: &Children, authorities: &str) -> bool {
        let wanted: Vec<_> = plans.values().map(|plan| render(plan, &self.options, authorities)).collect();
        let keys: HashSet<Key> = wanted.iter().flatten().map(key).collect();
        state.applied.retain(|key, _| keys.contains(key));
        let applied = &state.applied;
        let due = wanted.into_iter().filter_map(|objects| {
            let due: Vec<_> = objects.into_iter().filter(|it| is_due(it, applied, children)).collect();
            (!due.is_empty()).then_some(due)
        });
        let due: Vec<_> = due.collect();
        let results: Vec<_> =
            stream::iter(due).map(|objects| self.apply_each(objects)).buffer_unordered(CONCURRENCY).collect().await;
        let mut went_well = true;
        for (done, failure) in results {
            state.applied.extend(done);
            went_well &= failure.is_none();
            if let Some((object, error)) = failure {
                tracing::warn!("cannot provision {object}: {error}");
            }
        }
        went_well
    }

    /// Applies a data plane's objects in their order, up to the first that fails.
    async fn apply_each(&self, objects: Vec<Rendered>) -> (Vec<(Key, Applied)>, Option<(String, kube::Error)>) {
        let mut done = Vec::new();
        for rendered in objects {
            let (key, wanted) = (key(&rendered), digest(&rendered.object));
            let namespace = rendered.object.namespace().unwrap_or_default();
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &rendered.resource);
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            match api.patch(&rendered.object.name_any(), &parameters, &Patch::Apply(&rendered.object)).await {
                Ok(live) => done.push((key, Applied { wanted, live: live_digest(&live) })),
                Err(error) => return (done, Some((format!("{} {}/{}", key.0, key.1, key.2), error))),
            }
        }
        (done, None)
    }

    /// Deletes the data planes of Gateways that are there and not this controller's any more. What a deleted Gateway owned is the
    /// garbage collector's, and what a Gateway had before it was made invalid goes on serving.
    async fn delete_strays(&self, published: &Published, plans: &BTreeMap<Name, Plan>, children: &Children) -> bool {
        let mut went_well = true;
        let services = children.services.iter().map(|(place, it)| (place, it.owner_references()));
        let deployments = children.deployments.iter().map(|(place, it)| (place, it.owner_references()));
        let places: HashMap<_, _> = services.chain(deployments).collect();
        for ((namespace, name), owners) in places {
            let owner = owners.iter().find_map(|owner| {
                let gateway = published.store.find::<Gateway>(namespace, &owner.name)?;
                (gateway.meta.uid == owner.uid).then_some(gateway)
            });
            let Some(gateway) = owner else { continue };
            let key = ObjectKey::new(GATEWAY_GROUP, "Gateway", namespace.as_str(), gateway.meta.name.as_str());
            let is_ours = matches!(published.compiled.statuses.get(&key), Some(it) if matches!(it.body, StatusBody::Gateway(_)));
            if is_ours || plans.contains_key(&Name::new(namespace, &gateway.meta.name)) {
                continue;
            }
            tracing::info!("Gateway {namespace}/{} is no longer this controller's: deleting its data plane", gateway.meta.name);
            for resource in kinds() {
                let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
                match api.delete(name, &DeleteParams::background()).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => {
                        tracing::warn!("cannot delete {} {namespace}/{name}: {error}", resource.kind);
                        went_well = false;
                    }
                }
            }
        }
        went_well
    }
}

fn kinds() -> [ApiResource; 4] {
    [
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
    ]
}

fn is_due(rendered: &Rendered, applied: &HashMap<Key, Applied>, children: &Children) -> bool {
    let Some(last) = applied.get(&key(rendered)) else { return true };
    let place = (rendered.object.namespace().unwrap_or_default(), rendered.object.name_any());
    let live = match rendered.resource.kind.as_str() {
        "Service" => Some(children.services.get(&place).map(typed_digest)),
        "Deployment" => Some(children.deployments.get(&place).map(typed_digest)),
        // Not watched: looked after at each resync.
        _ => None,
    };
    last.wanted != digest(&rendered.object) || live.is_some_and(|live| live != Some(last.live))
}

fn key(rendered: &Rendered) -> Key {
    let object = &rendered.object;
    (rendered.resource.kind.clone(), object.namespace().unwrap_or_default(), object.name_any())
}

fn digest(object: &DynamicObject) -> u64 {
    xxh3_64(&serde_json::to_vec(object).unwrap_or_default())
}

/// A digest of what an owner sets, of an object as the API server has it.
fn live_digest(object: &DynamicObject) -> u64 {
    let meta = &object.metadata;
    let set = (&meta.labels, &meta.annotations, &meta.owner_references, object.data.get("spec"));
    xxh3_64(&serde_json::to_vec(&set).unwrap_or_default())
}

fn typed_digest<T: Resource<DynamicType = ()> + serde::Serialize>(object: &T) -> u64 {
    let meta = object.meta();
    let whole = serde_json::to_value(object).unwrap_or_default();
    xxh3_64(&serde_json::to_vec(&(&meta.labels, &meta.annotations, &meta.owner_references, whole.get("spec"))).unwrap_or_default())
}
