//! Digests by which it is told whether an object has changed, or is to be changed.

use kube::{Resource, api::DynamicObject};
use serde::Serialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

/// Of an object as it is to be sent.
pub(super) fn of_rendered(object: &DynamicObject) -> u64 {
    of(object)
}

/// Of what an owner sets, of an object as the API server answers it.
pub(super) fn of_live(object: &DynamicObject) -> u64 {
    let meta = &object.metadata;
    of(&(&meta.labels, &meta.annotations, &meta.owner_references, object.data.get("spec")))
}

/// Of what an owner sets, of an object as a watch tells it: the same as [`of_live`].
pub(super) fn of_typed<T: Resource<DynamicType = ()> + Serialize>(object: &T) -> u64 {
    let meta = object.meta();
    let whole = serde_json::to_value(object).unwrap_or(Value::Null);
    of(&(&meta.labels, &meta.annotations, &meta.owner_references, whole.get("spec")))
}

fn of(value: &impl Serialize) -> u64 {
    xxh3_64(&serde_json::to_vec(value).unwrap_or_default())
}
