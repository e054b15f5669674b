//! Models of pools.

use std::collections::HashMap;

use crate::index::{Index, Twin};
use pailou_api::Meta;

/// InferenceModels, InferenceModelRewrites and InferenceObjectives by the pool that they speak about: namespace and name.
pub(super) struct Models<'a> {
    pub(super) by_pool: HashMap<(&'a str, &'a str), Vec<&'a Meta>>,
}

impl<'a> Models<'a> {
    /// Indexes them all.
    pub(super) fn new(index: &Index<'a>) -> Self {
        let mut by_pool: HashMap<_, Vec<_>> = HashMap::new();
        let models = index.models.iter().map(|it| (&it.meta, &it.spec.pool_ref));
        let rewrites = counting(index.all_rewrites()).map(|it| (&it.meta, &it.spec.pool_ref));
        let objectives = counting(index.all_objectives()).map(|it| (&it.meta, &it.spec.pool_ref));
        for (meta, pool) in models.chain(rewrites).chain(objectives) {
            by_pool.entry((meta.namespace.as_str(), &*pool.name)).or_default().push(meta);
        }
        Self { by_pool }
    }
}

/// Those that are not superseded: the newer group's object counts instead, wherever it leads.
fn counting<T>(twins: Vec<Twin<'_, T>>) -> impl Iterator<Item = &T> {
    twins.into_iter().filter(|it| !it.is_superseded).map(|it| it.object)
}
