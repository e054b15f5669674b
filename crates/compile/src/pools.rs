//! InferencePools, with the models, rewrites and objectives that refer to them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::status::{Condition, PoolParentStatus, PoolReference, Problem, Severity, StatusBody, Statuses};
use pailou_api::{
    InferencePool, ObjectKey,
    inference_pool::{EndpointPickerRef, FailureMode as SpecMode, INFERENCE_GROUP, INFERENCE_X_GROUP, InferencePoolVersion},
    refs::GATEWAY_GROUP,
};
use pailou_snapshot::{Cluster, Failure, FailureMode, Name, PickerKind, Pool};

use super::{
    disaggregation::disaggregation,
    gateway::Gateways,
    ids::{ById, GatewayId, PolicyId, PoolId},
    index::{Index, name_of},
    kv_events::{self, kv_events},
    models::Models,
    picker::{self, NoPicker},
    pool_annotations,
    pool_configuration::{self, ConfigurationOf},
    queueing::{self, queueing},
    upstream_tls::TlsPolicies,
    warnings::PARTIALLY_SUPPORTED,
};

/// All InferencePools.
pub(crate) struct Pools<'a> {
    list: ById<PoolId, PoolState<'a>>,
    by_name: HashMap<(&'static str, &'a str, &'a str), PoolId>,
    pub(crate) models: Models,
}

struct PoolState<'a> {
    object: &'a InferencePool,
    pool: Result<Arc<Pool>, Failure>,
    /// The pool as it is where its picker is replaced, because that does not exist.
    replaced: Option<Replaced>,
    problems: Vec<Problem>,
    /// Reason that its picker's configuration cannot be had; the pool is served without.
    configuration_problem: Option<Problem>,
    warnings: Vec<String>,
    /// The cluster of its endpoint picker.
    asked: Option<Arc<Cluster>>,
    /// The BackendTLSPolicy of that.
    tls_policy: Option<PolicyId>,
    gateways: BTreeSet<GatewayId>,
}

/// A pool that the built-in picker serves in place of an absent one.
struct Replaced {
    pool: Arc<Pool>,
    /// Message of `ResolvedRefs: True`.
    note: String,
}

impl<'a> Pools<'a> {
    /// Reads all pools.
    pub(crate) fn new(index: &Index<'a>, policies: &TlsPolicies<'_>) -> Self {
        let mut all = Self { list: ById::default(), by_name: HashMap::new(), models: Models::new(index) };
        for object in index.pools_v1.iter().chain(index.pools_x.iter()) {
            let key = (object.spec.version.group(), object.meta.namespace.as_str(), object.meta.name.as_str());
            let id = all.list.push(PoolState::new(index, policies, &all.models, object));
            all.by_name.insert(key, id);
        }
        all
    }

    /// The pool of this name.
    pub(crate) fn find(&self, group: &str, namespace: &str, name: &str) -> Option<PoolId> {
        let group = [INFERENCE_GROUP, INFERENCE_X_GROUP].into_iter().find(|known| *known == group)?;
        self.by_name.get(&(group, namespace, name)).copied()
    }

    /// A pool's object, and what became of it; `replaces_pickers`: for a Gateway of a class whose pools do without the picker that they
    /// name.
    pub(crate) fn get(&self, id: PoolId, replaces_pickers: bool) -> (&'a InferencePool, Result<Arc<Pool>, Failure>) {
        let state = &self.list[id];
        let replaced = state.replaced(replaces_pickers).map(|replaced| Arc::clone(&replaced.pool));
        (state.object, replaced.map_or_else(|| state.pool.clone(), Ok))
    }

    /// The cluster of a pool's endpoint picker, where it has one of its own, and the BackendTLSPolicy on it.
    pub(crate) fn picker(&self, id: PoolId) -> Option<(&Arc<Cluster>, Option<PolicyId>)> {
        let state = &self.list[id];
        Some((state.asked.as_ref()?, state.tls_policy))
    }

    /// A route attached to this Gateway leads to the pool.
    pub(crate) fn reached(&mut self, id: PoolId, gateway: GatewayId) {
        self.list[id].gateways.insert(gateway);
    }

    /// Writes down every pool's status.
    pub(crate) fn report(&self, gateways: &Gateways<'_>, statuses: &mut Statuses) {
        for (_, state) in self.list.iter() {
            let meta = &state.object.meta;
            let group = state.object.spec.version.group();
            let key = ObjectKey::new(group, "InferencePool", &meta.namespace, &meta.name);
            if state.gateways.is_empty() {
                statuses.note(key.clone(), Severity::Warning, "no route of a served Gateway leads to the pool");
                let severity = if state.pool.is_ok() { Severity::Warning } else { Severity::Error };
                let problems = if state.replaced(false).is_some() { &[][..] } else { &state.problems };
                for problem in problems {
                    statuses.note(key.clone(), severity, problem.message.clone());
                }
                if let Some(problem) = &state.configuration_problem {
                    statuses.note(key.clone(), Severity::Warning, problem.message.clone());
                }
                for warning in &state.warnings {
                    statuses.note(key.clone(), Severity::Warning, warning.clone());
                }
            }
            let parents = state.gateways.iter().map(|id| &gateways[*id]).map(|gateway| PoolParentStatus {
                parent_ref: PoolReference {
                    group: GATEWAY_GROUP,
                    kind: "Gateway",
                    namespace: gateway.name.namespace.to_string(),
                    name: gateway.name.name.to_string(),
                },
                controller_name: (state.object.spec.version == InferencePoolVersion::V1).then(|| gateway.controller.to_owned()),
                conditions: state.conditions(gateway.replaces_pickers()),
            });
            let parents = parents.collect();
            let body = match state.object.spec.version {
                InferencePoolVersion::V1 => StatusBody::Pool { parents },
                InferencePoolVersion::V1Alpha2 => StatusBody::PoolV1Alpha2 { parent: parents },
            };
            statuses.set(key, body);
        }
    }
}

impl<'a> PoolState<'a> {
    fn new(index: &Index<'_>, policies: &TlsPolicies<'_>, models: &Models, object: &'a InferencePool) -> Self {
        let mut state = Self {
            object,
            pool: Err(Failure("".into())),
            replaced: None,
            problems: Vec::new(),
            configuration_problem: None,
            warnings: Vec::new(),
            asked: None,
            tls_policy: None,
            gateways: BTreeSet::new(),
        };
        let missing = match state.named_picker(index, policies) {
            Ok(picker) => {
                state.pool = Ok(state.read(index, models, picker).pool);
                return state;
            }
            Err(missing) => missing,
        };
        let NotedPool { pool, configuration, .. } = state.read(index, models, PickerKind::BuiltIn);
        let (NoPicker::Absent(message) | NoPicker::Unusable(message)) = &missing;
        if let NoPicker::Absent(_) = missing {
            let by = if configuration.is_empty() { configuration } else { format!(", as {configuration} has it") };
            let note = format!("{message}: the built-in picker serves the pool{by}");
            state.replaced = Some(Replaced { pool: Arc::clone(&pool), note });
        }
        state.pool = state.without_picker(message, pool);
        state
    }

    fn read(&mut self, index: &Index<'_>, models: &Models, picker: PickerKind) -> NotedPool {
        let mut noted = pool(index, models, self.object, picker, ConfigurationOf::GatewaysPool);
        self.warnings = std::mem::take(&mut noted.warnings);
        self.configuration_problem = noted.problem.take();
        noted
    }

    fn named_picker(&mut self, index: &Index<'_>, policies: &TlsPolicies<'_>) -> Result<PickerKind, NoPicker> {
        let Some(reference) = &self.object.spec.endpoint_picker else { return Ok(PickerKind::BuiltIn) };
        let (cluster, policy) = picker::cluster(index, policies, &self.object.meta.namespace, reference)?;
        let key = cluster.key.clone();
        self.tls_policy = policy;
        self.asked = Some(Arc::new(cluster));
        let configuration = pool_configuration::in_picker(index, self.object);
        let longest_wait = configuration.as_ref().and_then(|it| it.queueing()).map(|queueing| queueing.timeout);
        let (timeout, queues) = queueing::at_picker(longest_wait, self.object);
        Ok(PickerKind::External { cluster: key, failure_mode: failure_mode(reference), timeout, queues })
    }

    /// The pool where its picker is not to be had and none replaces it.
    fn without_picker(&mut self, message: &str, pool: Arc<Pool>) -> Result<Arc<Pool>, Failure> {
        let is_open = self.object.spec.endpoint_picker.as_ref().is_some_and(|picker| failure_mode(picker) == FailureMode::FailOpen);
        let effect = if is_open {
            "the built-in picker serves, as failureMode is FailOpen"
        } else {
            "requests fail, as failureMode is FailClose"
        };
        let message = format!("{message}: {effect}");
        self.problems.push(Problem::refs("InvalidExtensionRef", message.clone()));
        let meta = &self.object.meta;
        let failure = || Failure(format!("InferencePool {}/{}: {message}", meta.namespace, meta.name).into());
        if is_open { Ok(pool) } else { Err(failure()) }
    }

    /// The pool with the built-in picker, where that takes an absent one's place: always in v1alpha2.
    fn replaced(&self, replaces_pickers: bool) -> Option<&Replaced> {
        let replaces_pickers = replaces_pickers || self.object.spec.version == InferencePoolVersion::V1Alpha2;
        self.replaced.as_ref().filter(|_| replaces_pickers)
    }

    fn conditions(&self, replaces_pickers: bool) -> Vec<Condition> {
        let generation = self.object.meta.generation;
        let replaced = self.replaced(replaces_pickers);
        let problems = if replaced.is_some() { &[][..] } else { &self.problems };
        let problems: Vec<_> = problems.iter().chain(&self.configuration_problem).cloned().collect();
        let mut resolved = Condition::summary("ResolvedRefs", &problems, generation);
        // A pool that fails open asks to be served without its picker; without its configuration any is.
        resolved.is_tolerated = replaced.is_some() || self.pool.is_ok();
        if let Some(replaced) = replaced.filter(|_| problems.is_empty()) {
            resolved.message.clone_from(&replaced.note);
        }
        let mut conditions = vec![Condition::summary("Accepted", &problems, generation), resolved];
        if !self.warnings.is_empty() {
            conditions.push(Condition::holds(PARTIALLY_SUPPORTED, "UnsupportedValue", self.warnings.join("; "), generation));
        }
        conditions
    }
}

/// A pool without its endpoints, and notes on it.
pub(crate) struct NotedPool {
    pub(crate) pool: Arc<Pool>,
    /// Unknown parts, and parts without effect.
    pub(crate) warnings: Vec<String>,
    /// Reason that its picker's configuration cannot be had.
    pub(crate) problem: Option<Problem>,
    /// Origin of that configuration; empty if there is none.
    configuration: String,
}

/// A pool as its object, its annotations and its picker's configuration have it.
pub(crate) fn pool(
    index: &Index<'_>,
    models: &Models,
    object: &InferencePool,
    picker: PickerKind,
    configuration_of: ConfigurationOf<'_>,
) -> NotedPool {
    let mut warnings = Vec::new();
    let configuration = match picker {
        PickerKind::BuiltIn => pool_configuration::read(index, object, configuration_of),
        PickerKind::External { .. } => pool_configuration::without_effect(object),
    };
    let (configured, configured_by) = (configuration.configuration.as_deref(), configuration.origin.as_str());
    let set = models.of_pool(object.spec.version.group(), &object.meta.namespace, &object.meta.name);
    // An overridden annotation has that warning alone.
    let mut untold = Vec::new();
    let is_queueing_overridden = configured.is_some_and(|configuration| configuration.queueing().is_some());
    let queueing = queueing(object, &picker, if is_queueing_overridden { &mut untold } else { &mut warnings });
    let mut pool = Pool {
        name: pool_name(index, object),
        runtime: configured
            .and_then(|configuration| configuration.runtime())
            .unwrap_or_else(|| pool_annotations::runtime(object, &mut warnings)),
        strategy: pool_annotations::strategy(object, &mut warnings),
        scorers: None,
        prefill_scorers: None,
        picker,
        models: set.models,
        any_model: set.any_model,
        objectives: set.objectives,
        kv_events: kv_events(object, &mut warnings),
        disaggregation: None,
        queueing,
    };
    pool.disaggregation = disaggregation(&object.meta, pool.runtime, &pool.picker, &mut warnings);
    pool_annotations::warn_of_unknown(object, &mut warnings);
    if let Some(configuration) = configured {
        // Without an origin this process was given it.
        let by = if configured_by.is_empty() { "the picker's configuration" } else { configured_by };
        configuration.apply(&mut pool);
        let present = configuration.overridden().into_iter().filter(|annotation| object.meta.annotation(annotation).is_some());
        warnings.extend(present.map(|annotation| format!("annotation {annotation} has no effect: {by} takes its place")));
    }
    warnings.extend(configuration.warnings);
    if pool.kv_events.is_some() {
        kv_events::check_use(pool.strategy, &pool.picker, &mut warnings);
    }
    let (problem, configuration) = (configuration.problem, configuration.origin);
    NotedPool { pool: Arc::new(pool), warnings, problem, configuration }
}

/// The pool's name in the snapshot. Pools of the two API groups may bear one name while a user moves from one to the other;
/// their endpoints must not be confused.
pub(crate) fn pool_name(index: &Index<'_>, pool: &InferencePool) -> Name {
    let twin =
        pool.spec.version == InferencePoolVersion::V1Alpha2 && index.pools_v1.get(&pool.meta.namespace, &pool.meta.name).is_some();
    if twin { Name::new(&pool.meta.namespace, &format!("{}{TWIN_SUFFIX}", pool.meta.name)) } else { name_of(&pool.meta) }
}

/// Told apart from a name: no object's name has an `@`.
pub(crate) const TWIN_SUFFIX: &str = "@v1alpha2";

fn failure_mode(reference: &EndpointPickerRef) -> FailureMode {
    match reference.failure_mode {
        SpecMode::FailOpen => FailureMode::FailOpen,
        SpecMode::FailClose => FailureMode::FailClose,
    }
}
