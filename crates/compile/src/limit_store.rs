//! The store that limits of all replicas are counted in: `rateLimit.backend` of an EnvoyGateway.

use pailou_api::{
    ConfigMap, Secret,
    envoy::envoy_gateway::{GlobalRateLimit, RateLimitUrlRef},
    refs::SecretObjectReference,
};
use pailou_snapshot::{LimitStore, StoreSecret, StoreTls};

use crate::{
    index::Index,
    limit_settings::{named_secret, patience, secret},
};

/// Annotation of the ConfigMap: beginning of the store's keys, for gateways of several clusters on one store.
const PREFIX_ANNOTATION: &str = "pailou.dev/rate-limit-key-prefix";
/// Key of a Secret with the URL, where none is named.
const URL_KEY: &str = "url";
const URL_REF: &str = "rateLimit.backend.redis.urlRef";

/// Names of the Secrets beside the ConfigMap that the store is configured by.
pub(crate) fn secrets(limit: &GlobalRateLimit) -> Vec<&str> {
    let redis = limit.backend.as_ref().and_then(|it| it.redis.as_ref());
    let url = redis.and_then(|it| it.url_ref.as_ref()).and_then(|it| match &it.secret_key_ref {
        Some(selector) => Some(&selector.name),
        None => it.name.as_ref(),
    });
    let certificate = redis.and_then(|it| Some(&it.tls.as_ref()?.certificate_ref.as_ref()?.name));
    url.into_iter().chain(certificate).map(|name| &**name).collect()
}

/// Reads the store.
///
/// # Errors
/// A field is wrong, or a Secret is missing.
pub(crate) fn read(index: &Index<'_>, map: &ConfigMap, limit: &GlobalRateLimit) -> Result<LimitStore, String> {
    let backend = limit.backend.as_ref().ok_or("rateLimit.backend: write one")?;
    if backend.kind != "Redis" {
        return Err(format!("rateLimit.backend.type: {:?}: use Redis, for Valkey too", backend.kind));
    }
    let redis = backend.redis.as_ref().ok_or("rateLimit.backend.redis: write a url or a urlRef")?;
    let mut store = match (&redis.url, &redis.url_ref) {
        (Some(url), None) => parse("rateLimit.backend.redis.url", url)?,
        (None, Some(reference)) => {
            let (secret, key) = url_secret(index, map, reference)?;
            let only = secret.spec.data.values().next().filter(|_| key.is_none() && secret.spec.data.len() == 1);
            let key = key.unwrap_or(URL_KEY);
            let url = secret.spec.data.get(key).or(only).ok_or_else(|| format!("{URL_REF}: the Secret has no key {key}"))?;
            parse(URL_REF, text(URL_REF, url.expose())?)?
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
    (store.timeout, store.is_fail_closed) = patience(Some(limit));
    Ok(store)
}

/// The Secret with the URL, and its key where one is named.
fn url_secret<'a, 'r>(
    index: &Index<'a>,
    map: &ConfigMap,
    reference: &'r RateLimitUrlRef,
) -> Result<(&'a Secret, Option<&'r str>), String> {
    match (&reference.secret_key_ref, &reference.name) {
        (Some(selector), None) => Ok((named_secret(index, map, URL_REF, &selector.name)?, Some(&*selector.key))),
        (None, Some(name)) => Ok((named_secret(index, map, URL_REF, name)?, None)),
        _ => Err(format!("{URL_REF}: write a secretKeyRef")),
    }
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
