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
    failures::{Failures, is_refusal},
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

/// The kind whose refusals hold up no other.
const NETWORK_POLICY: &str = "NetworkPolicy";

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
    /// Failures of NetworkPolicies: what serves does not wait for those that the API server refuses.
    policy_failures: Failures,
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
    /// Whether its NetworkPolicy is among them, and others.
    parts: Parts,
}

/// Parts of a data plane that are applied, and refused, each by itself.
#[derive(Clone, Copy)]
struct Parts {
    has_policy: bool,
    has_others: bool,
}

/// Result of an attempt: the applied objects, and those that failed.
#[derive(Default)]
struct ApplyOutcome {
    applied: Vec<(Key, Applied)>,
    failure: Option<ApplyFailure>,
    policy_failure: Option<ApplyFailure>,
}

/// An object, by kind, namespace and name, and what kept it from being applied.
type ApplyFailure = (String, kube::Error);

impl State {
    fn forget_all_but(&mut self, plans: &BTreeMap<Name, Plan>) {
        let object_names: HashSet<(&str, &str)> =
            plans.values().map(|plan| (plan.object_name.0.as_str(), plan.object_name.1.as_str())).collect();
        self.desired.retain(|gateway| plans.contains_key(gateway));
        self.applied.retain(|(_, namespace, name), _| object_names.contains(&(namespace.as_str(), name.as_str())));
        self.failures.retain(|gateway| plans.contains_key(gateway));
        self.policy_failures.retain(|gateway| plans.contains_key(gateway));
    }

    /// Parts of a Gateway's data plane to try now, of those that are missing or differ. A NetworkPolicy that is not refused is tried
    /// before the others whenever they are, so that no proxy begins without.
    fn parts(&mut self, (needs_policy, needs_others): (bool, bool), gateway: &Name, desired: u64, now: Instant) -> Parts {
        if !needs_policy {
            self.policy_failures.went_well(gateway);
        }
        if !needs_others {
            self.failures.went_well(gateway);
        }
        let has_others = needs_others && self.failures.is_due(gateway, desired, now);
        let precedes = has_others && !self.policy_failures.is_refused(gateway);
        Parts { has_policy: needs_policy && (precedes || self.policy_failures.is_due(gateway, desired, now)), has_others }
    }

    /// Notes what failed of a Gateway's parts that were tried, and forgets what went well.
    fn note(&mut self, (gateway, desired): (&Name, u64), parts: Parts, outcome: ApplyOutcome) {
        let ApplyOutcome { applied, mut failure, policy_failure } = outcome;
        self.applied.extend(applied);
        let now = Instant::now();
        match policy_failure {
            Some((object, error)) => {
                self.policy_failures.failed(gateway.clone(), desired, &object, &error, now);
                if parts.has_others && !is_refusal(&error) {
                    failure = Some((format!("all that waits for {object}"), error));
                }
            }
            None if parts.has_policy => self.policy_failures.went_well(gateway),
            None => {}
        }
        match failure {
            Some((object, error)) => self.failures.failed(gateway.clone(), desired, &object, &error, now),
            None if parts.has_others => self.failures.went_well(gateway),
            None => {}
        }
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
            policy_failures: Failures::default(),
            pruning: (None, Backoff::new(Duration::from_millis(200), Duration::from_secs(20))),
            resync: Instant::now() + RESYNC,
        };
        loop {
            self.step(&mut state).await;
            self.refuse.send_if_modified(|refused| {
                state.failures.refusals(&mut refused.others) | state.policy_failures.refusals(&mut refused.policies)
            });
            time::sleep(PACE).await;
            let leads = self.leadership.leads();
            let retry = state
                .failures
                .next()
                .into_iter()
                .chain(state.policy_failures.next())
                .chain(state.pruning.0)
                .min()
                .filter(|_| leads);
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
                    (state.failures, state.policy_failures) = Default::default();
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
            let went_well = prune::strays((&self.client, &self.options), published, plans, children).await
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
        let is_there = |plan: &Plan| children.deployments.get(&plan.object_name).is_some();
        for (gateway, plan) in plans {
            if !plan.has_ports() && !is_there(plan) {
                state.failures.went_well(gateway);
                state.policy_failures.went_well(gateway);
                continue;
            }
            let observed = children.deployments.get(&plan.object_name).filter(|_| plan.is_scaled());
            let render = || render(plan, &self.options, authorities, observed.map(|it| &**it));
            let desired = state.desired.digests(plan, observed, authorities, render);
            let due = desired.objects.iter().map(|it| (it, is_policy(&it.0)));
            let due = due.filter(|(it, _)| is_due(it, &plan.object_name, &state.applied, children));
            let (policies, others): (Vec<_>, Vec<_>) = due.partition(|(_, is_policy)| *is_policy);
            let parts = state.parts((!policies.is_empty(), !others.is_empty()), gateway, desired.whole, now);
            let due: Vec<_> =
                policies.iter().filter(|_| parts.has_policy).chain(others.iter().filter(|_| parts.has_others)).collect();
            if !due.is_empty() {
                let is_due = |object: &Rendered| due.iter().any(|((it, _), _)| it == &key(object));
                let objects = render().into_iter().filter(is_due).collect();
                attempts.push(Attempt { gateway: gateway.clone(), desired: desired.whole, objects, parts });
            }
        }
        let mut outcomes = stream::iter(attempts)
            .map(|attempt| async move {
                let (gateway, desired, parts) = (attempt.gateway.clone(), attempt.desired, attempt.parts);
                (gateway, desired, parts, self.apply(attempt.objects).await)
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((gateway, desired, parts, outcome)) = outcomes.next().await {
            state.note((&gateway, desired), parts, outcome);
        }
    }

    /// Applies a data plane's objects in their order, up to the first that fails. Only a NetworkPolicy that the API server refuses
    /// holds up none of the others: it is said in the Gateway's status.
    async fn apply(&self, objects: Vec<Rendered>) -> ApplyOutcome {
        let mut outcome = ApplyOutcome::default();
        for rendered in objects {
            let (key, desired) = (key(&rendered), rendered.digest());
            let namespace = rendered.object.namespace().unwrap_or_default();
            let api: Api<Observed> = Api::namespaced_with(self.client.clone(), &namespace, &rendered.resource);
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            match api.patch(&rendered.object.name_any(), &parameters, &Patch::Apply(&rendered.object)).await {
                Ok(observed) => outcome.applied.push((key, Applied { desired, observed: observed.digest })),
                Err(error) => {
                    let passes_by = is_policy(&key) && is_refusal(&error);
                    let failed = if is_policy(&key) { &mut outcome.policy_failure } else { &mut outcome.failure };
                    *failed = Some((format!("{} {}/{}", key.0, key.1, key.2), error));
                    if !passes_by {
                        break;
                    }
                }
            }
        }
        outcome
    }
}

fn is_policy(key: &Key) -> bool {
    key.0 == NETWORK_POLICY
}

/// Whether an object is not there as it is to be.
fn is_due((key, desired): &(Key, u64), object_name: &ObjectName, applied: &HashMap<Key, Applied>, children: &Children) -> bool {
    let Some(last) = applied.get(key) else { return true };
    let observed = match key.0.as_str() {
        "Service" => Some(children.services.get(object_name).map(|it| it.digest)),
        "Deployment" => Some(children.deployments.get(object_name).map(|it| it.digest)),
        "HorizontalPodAutoscaler" => Some(children.autoscalers.get(object_name).map(|it| it.digest)),
        "PodDisruptionBudget" => Some(children.disruption_budgets.get(object_name).map(|it| it.digest)),
        NETWORK_POLICY if children.knows_policies(&object_name.0) => {
            Some(children.network_policies.get(object_name).map(|it| it.digest))
        }
        // Not watched, or not at present: looked after at each resync.
        _ => None,
    };
    last.desired != *desired || observed.is_some_and(|observed| observed != Some(last.observed))
}
