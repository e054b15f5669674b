//! The store that limits of all replicas are counted in: `rateLimit` of an EnvoyGateway, which stands in a ConfigMap.

use std::time::Duration;

use pailou_api::{
    ConfigMap, Meta, Secret,
    envoy::envoy_gateway::{EnvoyGateway, GlobalRateLimit},
    refs::SecretObjectReference,
};
use pailou_snapshot::{LimitStore, StoreSecret, StoreTls};

use crate::{index::Index, status::Problem};

/// ConfigMaps with the gateway's configuration, by namespace and name: Pailou's, Envoy Gateway's, ACK's. The first that names a store counts.
const CONFIG_MAPS: [(&str, &str); 3] = [
    ("pailou-system", "pailou-config"),
    ("envoy-gateway-system", "envoy-gateway-config"),
    ("envoy-gateway-system", "ack-gateway-config"),
];
/// Their key; another is read where it holds an EnvoyGateway.
const KEY: &str = "envoy-gateway.yaml";
/// Annotation of the ConfigMap: beginning of the store's keys, for gateways of several clusters on one store.
const PREFIX_ANNOTATION: &str = "pailou.dev/rate-limit-key-prefix";
/// Key of a Secret with the URL.
const URL_KEY: &str = "url";

/// The store; `None` where no configuration names one.
///
/// # Errors
/// The configuration cannot be read, or a Secret that it names. The problem is one of a policy with global limits.
pub(crate) fn read(index: &Index<'_>) -> Result<Option<LimitStore>, Problem> {
    let Some((map, limit)) = find(index)? else { return Ok(None) };
    store(index, map, &limit).map(Some).map_err(|message| problem(map, &message))
}

/// The objects that the store is configured by.
pub(crate) fn objects<'a>(index: &Index<'a>) -> Vec<&'a Meta> {
    let maps = CONFIG_MAPS.iter().filter_map(|(namespace, name)| index.config_maps.get(namespace, name));
    let mut objects: Vec<_> = maps.map(|map| &map.meta).collect();
    if let Ok(Some((map, limit))) = find(index) {
        let redis = limit.backend.redis.as_ref();
        let references =
            [redis.and_then(|redis| redis.url_ref.as_ref()), redis.and_then(|redis| redis.tls.as_ref()?.certificate_ref.as_ref())];
        objects.extend(references.into_iter().flatten().filter_map(|it| secret(index, map, "", it).ok()).map(|it| &it.meta));
    }
    objects
}

fn find<'a>(index: &Index<'a>) -> Result<Option<(&'a ConfigMap, GlobalRateLimit)>, Problem> {
    for (namespace, name) in CONFIG_MAPS {
        let Some(map) = index.config_maps.get(namespace, name) else { continue };
        let others = map.spec.data.iter().filter(|(key, _)| *key != KEY);
        for (key, text) in map.spec.data.get_key_value(KEY).into_iter().chain(others) {
            match EnvoyGateway::parse(text) {
                Ok(Some(EnvoyGateway { rate_limit: Some(limit) })) => return Ok(Some((map, limit))),
                // Other keys may hold anything.
                Ok(_) => {}
                Err(_) if key != KEY => {}
                Err(message) => return Err(problem(map, &format!("data[{KEY}]: {message}"))),
            }
        }
    }
    Ok(None)
}

fn problem(map: &ConfigMap, message: &str) -> Problem {
    let text = format!("spec.rateLimit.global: its store, in ConfigMap {}/{}: {message}", map.meta.namespace, map.meta.name);
    Problem::accepted("Invalid", text)
}

fn store(index: &Index<'_>, map: &ConfigMap, limit: &GlobalRateLimit) -> Result<LimitStore, String> {
    if limit.backend.kind != "Redis" {
        return Err(format!("rateLimit.backend.type: {:?}: use Redis, for Valkey too", limit.backend.kind));
    }
    let redis = limit.backend.redis.as_ref().ok_or("rateLimit.backend.redis: write a url or a urlRef")?;
    let mut store = match (&redis.url, &redis.url_ref) {
        (Some(url), None) => parse("rateLimit.backend.redis.url", url)?,
        (None, Some(reference)) => {
            let field = "rateLimit.backend.redis.urlRef";
            let secret = secret(index, map, field, reference)?;
            let only = secret.spec.data.values().next().filter(|_| secret.spec.data.len() == 1);
            let url = secret.spec.data.get(URL_KEY).or(only).ok_or_else(|| format!("{field}: the Secret has no key {URL_KEY}"))?;
            parse(field, text(field, url.expose())?)?
        }
        _ => return Err("rateLimit.backend.redis: set one of url and urlRef".to_owned()),
    };
    if let Some(tls) = &redis.tls {
        store.tls = Some(match &tls.certificate_ref {
            None => StoreTls::default(),
            Some(reference) => certificates("rateLimit.backend.redis.tls.certificateRef", index, map, reference)?,
        });
    }
    if let Some(prefix) = map.meta.annotation(PREFIX_ANNOTATION) {
        store.set_prefix(prefix).map_err(|error| format!("metadata.annotations[{PREFIX_ANNOTATION}]: {error}"))?;
    }
    store.timeout = limit.timeout.map_or(LimitStore::DEFAULT_TIMEOUT, |it| it.as_std().max(Duration::from_millis(1)));
    store.is_fail_closed = limit.fail_closed;
    Ok(store)
}

fn parse(field: &str, url: &str) -> Result<LimitStore, String> {
    LimitStore::parse(url).map_err(|error| format!("{field}: {error}"))
}

fn certificates(field: &str, index: &Index<'_>, map: &ConfigMap, reference: &SecretObjectReference) -> Result<StoreTls, String> {
    let secret = secret(index, map, field, reference)?;
    let key = |name: &str| secret.spec.data.get(name).map(|it| text(field, it.expose())).transpose();
    let client = match (key("tls.crt")?, key("tls.key")?) {
        (Some(chain), Some(key)) => Some((chain.into(), StoreSecret::new(key))),
        (None, None) => None,
        _ => return Err(format!("{field}: the Secret has one of tls.crt and tls.key; it needs both")),
    };
    Ok(StoreTls { authorities: key("ca.crt")?.map(Into::into), client })
}

fn text<'s>(field: &str, bytes: &'s [u8]) -> Result<&'s str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("{field}: the Secret's value is no text"))
}

/// A Secret beside the ConfigMap: whoever may write the one may refer to the other.
fn secret<'a>(index: &Index<'a>, map: &ConfigMap, field: &str, reference: &SecretObjectReference) -> Result<&'a Secret, String> {
    let (own, name) = (&*map.meta.namespace, &*reference.name);
    if let Some(other) = reference.namespace.as_deref().filter(|it| *it != own) {
        return Err(format!("{field}: Secret {other}/{name} is in another namespace: put it into {own}"));
    }
    index.secrets.get(own, name).ok_or_else(|| format!("{field}: there is no Secret {own}/{name}"))
}
