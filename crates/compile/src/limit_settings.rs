//! Settings that stores and rate limit services have in common, and Secrets beside their ConfigMap.

use std::time::Duration;

use pailou_api::{ConfigMap, Secret, envoy::envoy_gateway::GlobalRateLimit, refs::SecretObjectReference};
use pailou_snapshot::LimitStore;

use crate::index::Index;

/// Time that a request waits, and whether it is refused afterwards.
pub(crate) fn patience(limit: Option<&GlobalRateLimit>) -> (Duration, bool) {
    let timeout =
        limit.and_then(|it| it.timeout).map_or(LimitStore::DEFAULT_TIMEOUT, |it| it.as_std().max(Duration::from_millis(1)));
    (timeout, limit.is_some_and(|it| it.fail_closed))
}

/// A Secret beside the ConfigMap: whoever may write the one may refer to the other.
pub(crate) fn secret<'a>(
    index: &Index<'a>,
    map: &ConfigMap,
    field: &str,
    reference: &SecretObjectReference,
) -> Result<&'a Secret, String> {
    let (own, name) = (&*map.meta.namespace, &*reference.name);
    if let Some(other) = reference.namespace.as_deref().filter(|it| *it != own) {
        return Err(format!("{field}: Secret {other}/{name} is in another namespace: put it into {own}"));
    }
    named_secret(index, map, field, name)
}

/// The Secret of this name beside the ConfigMap.
pub(crate) fn named_secret<'a>(index: &Index<'a>, map: &ConfigMap, field: &str, name: &str) -> Result<&'a Secret, String> {
    let own = &*map.meta.namespace;
    index.secrets.get(own, name).ok_or_else(|| format!("{field}: there is no Secret {own}/{name}"))
}
