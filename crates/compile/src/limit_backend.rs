//! Who counts the limits of all replicas: a store by `rateLimit` of an EnvoyGateway, which stands in a ConfigMap, or a rate limit service by an
//! annotation of that ConfigMap.

use std::sync::Arc;

use pailou_api::{
    ConfigMap, Meta,
    envoy::envoy_gateway::{EnvoyGateway, GlobalRateLimit},
};
use pailou_snapshot::{LimitService, LimitStore};

use crate::{index::Index, limit_service, limit_store, status::Problem};

/// ConfigMaps with the gateway's configuration, by namespace and name: Pailou's, Envoy Gateway's, ACK's. The first that names a store or a
/// service counts.
const CONFIG_MAPS: [(&str, &str); 3] = [
    ("pailou-system", "pailou-config"),
    ("envoy-gateway-system", "envoy-gateway-config"),
    ("envoy-gateway-system", "ack-gateway-config"),
];
/// Their key; another is read where it holds an EnvoyGateway.
const KEY: &str = "envoy-gateway.yaml";

/// Counter of global limits.
pub(crate) enum LimitBackend {
    Store(LimitStore),
    Service(LimitService),
}

/// A ConfigMap that names a counter, and its `rateLimit`.
struct Found<'a> {
    map: &'a ConfigMap,
    limit: Option<GlobalRateLimit>,
    service: Option<&'a str>,
}

/// The counter; `None` where no configuration names one.
///
/// # Errors
/// The configuration cannot be read, or a Secret that it names. The problem is one of a policy with global limits.
pub(crate) fn read(index: &Index<'_>) -> Result<Option<LimitBackend>, Problem> {
    let Some(Found { map, limit, service }) = find(index)? else { return Ok(None) };
    let read = match (service, limit) {
        (Some(url), limit) => limit_service::read(index, map, limit.as_ref(), url).map(LimitBackend::Service),
        (None, Some(limit)) => limit_store::read(index, map, &limit).map(LimitBackend::Store),
        (None, None) => return Ok(None),
    };
    let kind = if service.is_some() { "rate limit service" } else { "store" };
    read.map(Some).map_err(|message| problem(map, kind, &message))
}

/// The same as a snapshot has it. Policies that need one that cannot be read have the problem, and are closed.
pub(crate) fn for_snapshot(index: &Index<'_>) -> (Option<Arc<LimitStore>>, Option<Arc<LimitService>>) {
    match read(index) {
        Ok(Some(LimitBackend::Store(store))) => (Some(store.into()), None),
        Ok(Some(LimitBackend::Service(service))) => (None, Some(service.into())),
        Ok(None) | Err(_) => (None, None),
    }
}

/// The objects that it is configured by.
pub(crate) fn objects<'a>(index: &Index<'a>) -> Vec<&'a Meta> {
    let maps = CONFIG_MAPS.iter().filter_map(|(namespace, name)| index.config_maps.get(namespace, name));
    let mut objects: Vec<_> = maps.map(|map| &map.meta).collect();
    if let Ok(Some(Found { map, limit, service })) = find(index) {
        let names = match (service, &limit) {
            (Some(_), _) => limit_service::secrets(map),
            (None, Some(limit)) => limit_store::secrets(limit),
            (None, None) => Vec::new(),
        };
        let secrets = names.into_iter().filter_map(|name| index.secrets.get(&map.meta.namespace, name));
        objects.extend(secrets.map(|it| &it.meta));
    }
    objects
}

fn find<'a>(index: &Index<'a>) -> Result<Option<Found<'a>>, Problem> {
    for (namespace, name) in CONFIG_MAPS {
        let Some(map) = index.config_maps.get(namespace, name) else { continue };
        let found = Found { map, limit: rate_limit(map)?, service: map.meta.annotation(limit_service::URL_ANNOTATION) };
        if found.limit.is_some() || found.service.is_some() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn rate_limit(map: &ConfigMap) -> Result<Option<GlobalRateLimit>, Problem> {
    let others = map.spec.data.iter().filter(|(key, _)| *key != KEY);
    for (key, text) in map.spec.data.get_key_value(KEY).into_iter().chain(others) {
        match EnvoyGateway::parse(text) {
            Ok(Some(EnvoyGateway { rate_limit: Some(limit) })) => return Ok(Some(limit)),
            // Other keys may hold anything.
            Ok(_) => {}
            Err(_) if key != KEY => {}
            Err(message) => return Err(problem(map, "store", &format!("data[{KEY}]: {message}"))),
        }
    }
    Ok(None)
}

fn problem(map: &ConfigMap, kind: &str, message: &str) -> Problem {
    let text = format!("spec.rateLimit.global: its {kind}, in ConfigMap {}/{}: {message}", map.meta.namespace, map.meta.name);
    Problem::accepted("Invalid", text)
}
