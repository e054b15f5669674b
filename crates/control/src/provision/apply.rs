//! Brings the cluster to what is planned, as leader.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use pailou_snapshot::Name;
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::{
    Options, PACE,
    children::Children,
    desired::{Desired, Key, key},
    failures::Failures,
    listed::ObjectName,
    observed::Observed,
    plan::{Plan, plans},
    prune,
    render::{Rendered, render},
    report::Refused,
};
use crate::{CompiledState, FIELD_MANAGER, backoff::Backoff, leader::Leadership};

/// Data planes that are applied at the same time.
const CONCURRENCY: usize = 8;
/// How often everything is applied again, whether or not it seems to have changed.
const RESYNC: Duration = Duration::from_secs(600);

/// Inputs and outputs of the provisioner.
pub(crate) struct Provisioner {
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) published: watch::Receiver<Option<CompiledState>>,
    pub(crate) children: watch::Receiver<Children>,
    /// The authorities of the feed; `None` until the feed knows them.
    pub(crate) authorities: watch::Receiver<Option<Arc<str>>>,
    pub(crate) leadership: Leadership,
    /// Objects that the API server refuses.
    pub(crate) refuse: watch::Sender<Refused>,
}

/// An object as it was applied last.
struct Applied {
    /// Digest of what was sent.
    desired: u64,
    /// Digest of what the API server then had.
    observed: u64,
}

struct State {
    planned: Option<Planned>,
    desired: Desired,
    applied: HashMap<Key, Applied>,
    failures: Failures,
    /// Time of the next attempt to delete, and the pause after that.
    pruning: (Option<Instant>, Backoff),
    resync: Instant,
}

/// The plans and the compilation that they come from: they stay the same while only observed objects change.
struct Planned {
    published: CompiledState,
    plans: BTreeMap<Name, Plan>,
}

/// Objects to apply for one Gateway.
struct Attempt {
    gateway: Name,
    /// Digest of all that the Gateway is to have.
    desired: u64,
    /// Those of its objects that are missing or differ.
    objects: Vec<Rendered>,
}

/// Result of an attempt: the applied objects, and the one that failed.
struct ApplyOutcome {
    gateway: Name,
    desired: u64,
    applied: Vec<(Key, Applied)>,
    failure: Option<(String, kube::Error)>,
}

impl State {
    fn forget_all_but(&mut self, plans: &BTreeMap<Name, Plan>) {
        let object_names: HashSet<(&str, &str)> =
            plans.values().map(|plan| (plan.object_name.0.as_str(), plan.object_name.1.as_str())).collect();
        self.desired.retain(|gateway| plans.contains_key(gateway));
        self.applied.retain(|(_, namespace, name), _| object_names.contains(&(namespace.as_str(), name.as_str())));
        self.failures.retain(|gateway| plans.contains_key(gateway));
    }
}

impl Provisioner {
    /// Works until the controller stops.
    pub(crate) async fn run(mut self) {
        let mut state = State {
            planned: None,
            desired: Desired::default(),
            applied: HashMap::new(),
            failures: Failures::default(),
            pruning: (None, Backoff::new(Duration::from_millis(200), Duration::from_secs(20))),
            resync: Instant::now() + RESYNC,
        };
        loop {
            self.step(&mut state).await;
            self.refuse.send_if_modified(|refused| state.failures.refusals(refused));
            time::sleep(PACE).await;
            let leads = self.leadership.leads();
            let retry = state.failures.next().into_iter().chain(state.pruning.0).min().filter(|_| leads);
            let retry = async {
                match retry {
                    Some(at) => time::sleep_until(at).await,
                    None => pending().await,
                }
            };
            let turn = async { if leads { self.leadership.lost().await } else { self.leadership.gained().await } };
            tokio::select! {
                changed = self.published.changed() => if changed.is_err() { return },
                changed = self.children.changed() => if changed.is_err() { return },
                changed = self.authorities.changed() => if changed.is_err() { return },
                () = turn => {
                    // A replica that lost leadership keeps no compilation.
                    state.planned = None;
                    state.applied.clear();
                    state.failures = Failures::default();
                }
                () = retry => {}
                () = time::sleep_until(state.resync) => {
                    state.applied.clear();
                    state.resync = Instant::now() + RESYNC;
                }
            }
        }
    }

    async fn step(&mut self, state: &mut State) {
        let Some(published) = self.published.borrow_and_update().clone() else { return };
        let children = self.children.borrow().clone();
        let planned = state.planned.take().filter(|it| it.published.is_same_to_provisioner(&published));
        let planned = planned.unwrap_or_else(|| {
            let plans = plans(&published);
            state.forget_all_but(&plans);
            Planned { published, plans }
        });
        self.provision(state, &planned, &children).await;
        state.planned = Some(planned);
    }

    async fn provision(&mut self, state: &mut State, planned: &Planned, children: &Children) {
        let authorities = self.authorities.borrow_and_update().clone();
        let Some(authorities) = authorities.filter(|_| children.is_known() && self.leadership.leads()) else { return };
        let Planned { published, plans } = planned;
        self.apply_all(state, plans, children, &authorities).await;
        let (at, backoff) = &mut state.pruning;
        if at.is_none_or(|at| at <= Instant::now()) {
            let went_well = prune::strays(&self.client, published, plans, children).await
                & prune::unasked(&self.client, &self.options, plans, children).await;
            if went_well {
                backoff.reset();
            }
            *at = (!went_well).then(|| Instant::now() + backoff.failed());
        }
    }

    /// Applies what differs from what was applied, or was changed by somebody since.
    async fn apply_all(&self, state: &mut State, plans: &BTreeMap<Name, Plan>, children: &Children, authorities: &Arc<str>) {
        let (mut attempts, now) = (Vec::new(), Instant::now());
        for (gateway, plan) in plans {
            let observed = children.deployments.get(&plan.object_name).filter(|_| plan.is_scaled());
            let render = || render(plan, &self.options, authorities, observed.map(|it| &**it));
            let desired = state.desired.digests(plan, observed, authorities, render);
            let due: Vec<_> = desired
                .objects
                .iter()
                .filter(|it| is_due(it, &plan.object_name, &state.applied, children))
                .map(|it| &it.0)
                .collect();
            if due.is_empty() {
                state.failures.went_well(gateway);
            } else if state.failures.is_due(gateway, desired.whole, now) {
                let objects = render().into_iter().filter(|it| due.contains(&&key(it))).collect();
                attempts.push(Attempt { gateway: gateway.clone(), desired: desired.whole, objects });
            }
        }
        let mut outcomes = stream::iter(attempts).map(|attempt| self.apply(attempt)).buffer_unordered(CONCURRENCY);
        while let Some(ApplyOutcome { gateway, desired, applied, failure }) = outcomes.next().await {
            state.applied.extend(applied);
            match failure {
                Some((object, error)) => state.failures.failed(gateway, desired, &object, &error, Instant::now()),
                None => state.failures.went_well(&gateway),
            }
        }
    }

    /// Applies a data plane's objects in their order, up to the first that fails.
    async fn apply(&self, Attempt { gateway, desired, objects }: Attempt) -> ApplyOutcome {
        let mut outcome = ApplyOutcome { gateway, desired, applied: Vec::new(), failure: None };
        for rendered in objects {
            let (key, desired) = (key(&rendered), rendered.digest());
            let namespace = rendered.object.namespace().unwrap_or_default();
            let api: Api<Observed> = Api::namespaced_with(self.client.clone(), &namespace, &rendered.resource);
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            match api.patch(&rendered.object.name_any(), &parameters, &Patch::Apply(&rendered.object)).await {
                Ok(observed) => outcome.applied.push((key, Applied { desired, observed: observed.digest })),
                Err(error) => {
                    outcome.failure = Some((format!("{} {}/{}", key.0, key.1, key.2), error));
                    break;
                }
            }
        }
        outcome
    }
}

/// Whether an object is not there as it is to be.
fn is_due((key, desired): &(Key, u64), object_name: &ObjectName, applied: &HashMap<Key, Applied>, children: &Children) -> bool {
    let Some(last) = applied.get(key) else { return true };
    let observed = match key.0.as_str() {
        "Service" => Some(children.services.get(object_name).map(|it| it.digest)),
        "Deployment" => Some(children.deployments.get(object_name).map(|it| it.digest)),
        "HorizontalPodAutoscaler" => Some(children.autoscalers.get(object_name).map(|it| it.digest)),
        "PodDisruptionBudget" => Some(children.disruption_budgets.get(object_name).map(|it| it.digest)),
        "NetworkPolicy" => Some(children.network_policies.get(object_name).map(|it| it.digest)),
        // Not watched: looked after at each resync.
        _ => None,
    };
    last.desired != *desired || observed.is_some_and(|observed| observed != Some(last.observed))
}
