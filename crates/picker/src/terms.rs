//! Terms of one request from a pool's InferenceModels, rewrites and objectives.

use std::sync::Arc;

use pailou_snapshot::{Criticality, Pool, PoolModel, at_point};

/// Headers that name the InferenceObjective of a request, the newer name first.
pub const OBJECTIVE_HEADERS: [&str; 2] = ["x-llm-d-inference-objective", "x-gateway-inference-objective"];

/// One of a model's target names, by weight; `None` leaves the client's.
pub fn target_name(model: &PoolModel) -> Option<Arc<str>> {
    let total: u64 = model.targets.iter().map(|target| u64::from(target.weight)).sum();
    if total == 0 {
        return None;
    }
    let target = at_point(&model.targets, |target| target.weight, fastrand::u64(..total))?;
    Some(target.name.clone())
}

/// How important a request is: by the objective that it names (see [`OBJECTIVE_HEADERS`]) where the pool has one of that name, and
/// else as the model is configured.
pub fn criticality(pool: &Pool, model: Option<&PoolModel>, objective: Option<&str>) -> Criticality {
    match objective.and_then(|name| pool.objectives.get(name)) {
        Some(priority) if *priority < 0 => Criticality::Sheddable,
        Some(0) => Criticality::Standard,
        Some(_) => Criticality::Critical,
        None => model.map(|model| model.criticality).unwrap_or_default(),
    }
}
