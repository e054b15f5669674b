//! Digests by which it is told whether an object is to be changed.

use kube::api::DynamicObject;
use xxhash_rust::xxh3::xxh3_64;

/// Of an object as it is to be sent.
pub(super) fn of_rendered(object: &DynamicObject) -> u64 {
    xxh3_64(&serde_json::to_vec(object).unwrap_or_default())
}
