//! Brings the cluster to what is planned, as leader, and tells the compiler what has become of it, on every replica.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
};
use pailou_config::{
    compile::{DataPlane, Settings},
    snapshot::Name,
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
    prune,
    render::{Rendered, render},
};
use crate::{FIELD_MANAGER, Published, backoff::Backoff, leader::Leadership};

/// Data planes that are applied at the same time.
const CONCURRENCY: usize = 8;
/// How often everything is applied again, whether or not it seems to have changed.
const RESYNC: Duration = Duration::from_secs(600);
/// The most that is kept of what an API server says, in characters.
const MAX_REFUSAL: usize = 1024;

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

/// An object that could not be applied, and why.
type Failure = (String, kube::Error);

/// An object as it was applied last.
struct Applied {
    /// Digest of what was sent.
    wanted: u64,
    /// Digest of what the API server then had.
    live: u64,
}

struct State {
    applied: HashMap<Key, Applied>,
    /// What the API server refuses, in its words, by Gateway.
    refused: BTreeMap<Name, String>,
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
        let (send, mut children) = watch::channel(Children::unknown(self.options.namespaces.len()));
        let follower = tokio::spawn(children::follow(self.client.clone(), self.options.clone(), send));
        let _follower = AbortOnDrop(follower.abort_handle());
        let mut state = State {
            applied: HashMap::new(),
            refused: BTreeMap::new(),
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
                () = turn => {
                    state.applied.clear();
                    state.refused.clear();
                }
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
        self.tell(state, &published, &plans, &children);
        let authorities = self.authorities.borrow_and_update().clone();
        let Some(authorities) = authorities.filter(|_| children.is_known() && self.leadership.leads()) else { return };
        if state.retry.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let went_well = self.apply_all(state, &plans, &children, &authorities).await
            & prune::strays(&self.client, &published, &plans, &children).await
            & prune::unasked(&self.client, &plans, &children).await;
        self.tell(state, &published, &plans, &children);
        state.retry = if went_well {
            state.backoff.reset();
            None
        } else {
            Some(Instant::now() + state.backoff.failed())
        };
    }

    /// Tells the compiler what is known of the data planes.
    fn tell(&self, state: &State, published: &Published, plans: &BTreeMap<Name, Plan>, children: &Children) {
        let known = plans.iter().filter_map(|(gateway, plan)| {
            let plane = children.data_plane(published, plan, &names::data_plane(&gateway.name));
            let refused = state.refused.get(gateway).cloned();
            (plane.is_some() || refused.is_some()).then(|| (gateway.clone(), DataPlane { refused, ..plane.unwrap_or_default() }))
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
        let wanted: Vec<_> = plans.values().map(|plan| (plan, self.render(plan, children, authorities))).collect();
        let keys: HashSet<Key> = wanted.iter().flat_map(|(_, objects)| objects).map(key).collect();
        state.applied.retain(|key, _| keys.contains(key));
        state.refused.retain(|gateway, _| plans.contains_key(gateway));
        let applied = &state.applied;
        let due = wanted.into_iter().filter_map(|(plan, objects)| {
            let due: Vec<_> = objects.into_iter().filter(|it| is_due(it, applied, children)).collect();
            (!due.is_empty()).then_some((plan.gateway.clone(), due))
        });
        let due: Vec<_> = due.collect();
        let results: Vec<_> = stream::iter(due)
            .map(|(gateway, objects)| self.apply_each(gateway, objects))
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let mut went_well = true;
        for (gateway, done, failure) in results {
            state.applied.extend(done);
            went_well &= failure.is_none();
            let Some((object, error)) = failure else {
                state.refused.remove(&gateway);
                continue;
            };
            tracing::warn!("cannot provision {object}: {error}");
            if let Some(why) = refusal(&error) {
                state.refused.insert(gateway, format!("{object}: {why}"));
            }
        }
        went_well
    }

    fn render(&self, plan: &Plan, children: &Children, authorities: &str) -> Vec<Rendered> {
        let place = (plan.gateway.namespace.to_string(), names::data_plane(&plan.gateway.name));
        render(plan, &self.options, authorities, children.deployments.0.get(&place))
    }

    /// Applies a data plane's objects in their order, up to the first that fails.
    async fn apply_each(&self, gateway: Name, objects: Vec<Rendered>) -> (Name, Vec<(Key, Applied)>, Option<Failure>) {
        let mut done = Vec::new();
        for rendered in objects {
            let (key, wanted) = (key(&rendered), digest(&rendered.object));
            let namespace = rendered.object.namespace().unwrap_or_default();
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &rendered.resource);
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            match api.patch(&rendered.object.name_any(), &parameters, &Patch::Apply(&rendered.object)).await {
                Ok(live) => done.push((key, Applied { wanted, live: live_digest(&live) })),
                Err(error) => return (gateway, done, Some((format!("{} {}/{}", key.0, key.1, key.2), error))),
            }
        }
        (gateway, done, None)
    }
}

/// What the API server says against an object, where trying again as it is will not help.
fn refusal(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else { return None };
    let is_final = (400..500).contains(&status.code) && ![401, 408, 409, 429].contains(&status.code);
    is_final.then(|| status.message.chars().take(MAX_REFUSAL).collect())
}

fn is_due(rendered: &Rendered, applied: &HashMap<Key, Applied>, children: &Children) -> bool {
    let Some(last) = applied.get(&key(rendered)) else { return true };
    let place = (rendered.object.namespace().unwrap_or_default(), rendered.object.name_any());
    let live = match rendered.resource.kind.as_str() {
        "Service" => Some(children.services.0.get(&place).map(typed_digest)),
        "Deployment" => Some(children.deployments.0.get(&place).map(typed_digest)),
        "HorizontalPodAutoscaler" => Some(children.autoscalers.0.get(&place).map(typed_digest)),
        "PodDisruptionBudget" => Some(children.disruption_budgets.0.get(&place).map(typed_digest)),
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
