//! Models and priorities of pools, from InferenceModels, InferenceModelRewrites and InferenceObjectives.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::status::{Condition, ConditionList, ConditionStatus, StatusBody, Statuses};
use pailou_api::{
    InferenceModel, InferenceModelRewrite, Kind, Meta, ObjectKey,
    inference_model::{Criticality as SpecCriticality, ModelApi, ModelRewriteTarget, PoolRef},
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP, LLM_D_GROUP},
};
use pailou_snapshot::{Criticality, ModelTarget, PoolModel};

use super::{
    index::{Index, Twin},
    wrong_kind::{self, Named},
};

/// A pool: group, namespace, name.
type PoolKey = (&'static str, String, String);

/// One pool's models.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelSet {
    pub(crate) models: foldhash::HashMap<Arc<str>, Arc<PoolModel>>,
    pub(crate) any_model: Option<Arc<PoolModel>>,
    pub(crate) objectives: foldhash::HashMap<Arc<str>, i32>,
    /// Models that an InferenceModelRewrite has named.
    rewritten: HashSet<Arc<str>>,
}

impl ModelSet {
    fn rewrite(&mut self, name: &str, targets: &[ModelTarget]) {
        if !self.rewritten.insert(name.into()) {
            return;
        }
        let criticality = self.models.get(name).map(|model| model.criticality).unwrap_or_default();
        self.models.insert(name.into(), Arc::new(PoolModel { criticality, targets: targets.to_vec(), keeps_name: true }));
    }
}

/// All pools' models, and the statuses of the objects that define them.
#[derive(Debug, Default)]
pub(crate) struct Models {
    sets: HashMap<PoolKey, ModelSet>,
    conditions: Vec<(ObjectKey, Vec<Condition>)>,
}

impl Models {
    /// Reads all objects, the oldest first.
    pub(crate) fn new(index: &Index<'_>) -> Self {
        let mut all = Self::default();
        let mut owners: HashMap<(PoolKey, &str), &str> = HashMap::new();
        for model in index.models.iter() {
            let spec = &model.spec;
            let mut condition = Condition::fine("Accepted", model.meta.generation);
            match find(index, &model.meta, &spec.pool_ref) {
                None => condition = pending(&model.meta, &spec.pool_ref),
                Some(pool) => match owners.get(&(pool.clone(), spec.model_name.as_str())) {
                    Some(owner) => {
                        let message =
                            format!("model {} of this pool is taken by the older InferenceModel {owner}", spec.model_name);
                        condition = Condition::fails("Accepted", "ModelNameInUse", message, model.meta.generation);
                    }
                    None => {
                        owners.insert((pool.clone(), &spec.model_name), &model.meta.name);
                        let set = all.sets.entry(pool).or_default();
                        set.models.insert(spec.model_name.as_str().into(), Arc::new(pool_model(model)));
                    }
                },
            }
            all.conclude((INFERENCE_X_GROUP, "InferenceModel"), &model.meta, vec![condition]);
        }
        for Twin { object: rewrite, is_superseded } in index.all_rewrites() {
            let set = all.of_twin(
                "InferenceModelRewrite",
                index,
                (&rewrite.meta, &rewrite.spec.pool_ref),
                rewrite.spec.api,
                is_superseded,
            );
            set.into_iter().for_each(|set| apply(set, rewrite));
        }
        for Twin { object: objective, is_superseded } in index.all_objectives() {
            let named = (&objective.meta, &objective.spec.pool_ref);
            if let Some(set) = all.of_twin("InferenceObjective", index, named, objective.spec.api, is_superseded) {
                set.objectives.insert(objective.meta.name.as_str().into(), objective.spec.priority.unwrap_or(0));
            }
        }
        all.sets.values_mut().for_each(fill_generic);
        all
    }

    /// A pool's models.
    pub(crate) fn of_pool(&self, group: &'static str, namespace: &str, name: &str) -> ModelSet {
        self.sets.get(&(group, namespace.to_owned(), name.to_owned())).cloned().unwrap_or_default()
    }

    /// Writes down every object's status.
    pub(crate) fn report(&self, statuses: &mut Statuses) {
        for (key, conditions) in &self.conditions {
            statuses.set(key.clone(), StatusBody::Conditions(ConditionList { conditions: conditions.clone() }));
        }
    }

    /// Judges an object of a kind that two groups have. Gives its pool's models, if it counts.
    fn of_twin(
        &mut self,
        kind: &'static str,
        index: &Index<'_>,
        (meta, pool_ref): (&Meta, &PoolRef),
        api: ModelApi,
        is_superseded: bool,
    ) -> Option<&mut ModelSet> {
        let pool = find(index, meta, pool_ref);
        let accepted = match pool {
            Some(_) => Condition::fine("Accepted", meta.generation),
            None => pending(meta, pool_ref),
        };
        let superseded = is_superseded.then(|| {
            let message = format!("the {kind} of this name in the group {LLM_D_GROUP} counts: remove this one");
            Condition::holds("Overridden", "Superseded", message, meta.generation)
        });
        self.conclude((api.group(), kind), meta, std::iter::once(accepted).chain(superseded).collect());
        let pool = pool.filter(|_| !is_superseded)?;
        Some(self.sets.entry(pool).or_default())
    }

    fn conclude(&mut self, (group, kind): (&'static str, &'static str), meta: &Meta, conditions: Vec<Condition>) {
        self.conditions.push((ObjectKey::new(group, kind, &meta.namespace, &meta.name), conditions));
    }
}

/// The pool that is meant: of the group that is named, else of the other, for users mix the two.
fn find(index: &Index<'_>, meta: &Meta, reference: &PoolRef) -> Option<PoolKey> {
    let (own, other) = match &*reference.group {
        INFERENCE_GROUP => (INFERENCE_GROUP, INFERENCE_X_GROUP),
        _ => (INFERENCE_X_GROUP, INFERENCE_GROUP),
    };
    let known = [own, other].into_iter().find(|group| index.pool(group, &meta.namespace, &reference.name).is_some())?;
    (reference.kind == "InferencePool").then(|| (known, meta.namespace.clone(), reference.name.to_string()))
}

fn pending(meta: &Meta, reference: &PoolRef) -> Condition {
    let PoolRef { group, kind, name } = reference;
    let message = match Kind::find(group, kind) {
        Some(Kind::InferencePool) => format!("there is no {kind} {name} in namespace {}", meta.namespace),
        _ => format!("poolRef: {}", wrong_kind::message(Named { group, kind, name }, &[Kind::InferencePool])),
    };
    Condition { status: ConditionStatus::False, ..Condition::holds("Accepted", "Pending", message, meta.generation) }
}

fn pool_model(model: &InferenceModel) -> PoolModel {
    let targets = model.spec.target_models.iter().map(|target| (target.name.as_str(), target.weight));
    PoolModel {
        criticality: match model.spec.criticality.unwrap_or_default() {
            SpecCriticality::Sheddable => Criticality::Sheddable,
            SpecCriticality::Standard => Criticality::Standard,
            SpecCriticality::Critical => Criticality::Critical,
        },
        targets: weighted(targets),
        keeps_name: false,
    }
}

fn weighted<'a>(targets: impl Iterator<Item = (&'a str, Option<u32>)>) -> Vec<ModelTarget> {
    let weighed = targets.map(|(name, weight)| ModelTarget { name: name.into(), weight: weight.unwrap_or(1) });
    weighed.filter(|target| target.weight > 0).collect()
}

/// Rewrites come the oldest first, their rules in order: what is there already stays. An exact match goes before the targets of
/// an InferenceModel too: it is the newer API, and the more particular statement.
fn apply(set: &mut ModelSet, rewrite: &InferenceModelRewrite) {
    for rule in &rewrite.spec.rules {
        let targets = targets_of(&rule.targets);
        let exact: Vec<&str> = rule.matches.iter().filter_map(|it| it.model.as_ref()).map(|model| model.value.as_str()).collect();
        let generic = rule.matches.is_empty() || rule.matches.iter().any(|it| it.model.is_none());
        for name in exact {
            set.rewrite(name, &targets);
        }
        if generic && set.any_model.is_none() {
            set.any_model = Some(Arc::new(PoolModel { criticality: Criticality::default(), targets, keeps_name: true }));
        }
    }
}

fn targets_of(targets: &[ModelRewriteTarget]) -> Vec<ModelTarget> {
    weighted(targets.iter().map(|target| (target.model_rewrite.as_str(), target.weight)))
}

/// A model whose InferenceModel names no targets gets those of the generic rewrite.
fn fill_generic(set: &mut ModelSet) {
    let Some(any) = set.any_model.clone() else { return };
    for model in set.models.values_mut().filter(|model| model.targets.is_empty()) {
        *model = Arc::new(PoolModel { criticality: model.criticality, targets: any.targets.clone(), keeps_name: true });
    }
}

/// The base model by adapter, from ConfigMaps with `data.baseModel` and `data.adapters` (a list in YAML). The oldest map that
/// names an adapter counts.
pub(crate) fn base_models(index: &Index<'_>) -> BTreeMap<String, String> {
    let mut bases = BTreeMap::new();
    for map in index.adapter_maps.iter() {
        let data = &map.spec.data;
        let Some(base) = data.get("baseModel").map(|base| base.trim()) else { continue };
        let adapters = data.get("adapters").and_then(|text| serde_saphyr::from_str::<Vec<String>>(text).ok());
        for name in std::iter::once(base.to_owned()).chain(adapters.unwrap_or_default()) {
            bases.entry(name).or_insert_with(|| base.to_owned());
        }
    }
    bases
}
