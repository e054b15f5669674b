//! Configuration of a pool's built-in picker in a ConfigMap: llm-d's `EndpointPickerConfig`.

use std::sync::Arc;

use crate::{endpoint_picker_config::PickerConfiguration, index::Index, picker, queueing::FOREIGN_PICKER, status::Problem};
use pailou_api::{
    ConfigMap, InferencePool,
    endpoint_picker_config::{ConfigurationSource, ENDPOINT_PICKER_CONFIG_ANNOTATION},
};

/// Keys of the ConfigMap that llm-d's chart makes; further ones are the user's own.
const DEFAULT_KEY: &str = "default-plugins.yaml";
const CHART_KEYS: [&str; 2] = [DEFAULT_KEY, "payload-agnostic.yaml"];
/// Most parts without effect that a condition names.
const MAX_NAMED: usize = 16;

/// A pool's configuration, as far as it can be had.
#[derive(Default)]
pub(crate) struct PoolConfiguration {
    pub(crate) configuration: Option<Arc<PickerConfiguration>>,
    /// Reason that it cannot be had.
    pub(crate) problem: Option<Problem>,
    /// Parts without effect.
    pub(crate) warnings: Vec<String>,
    /// ConfigMap and key.
    pub(crate) origin: String,
}

/// Source of the configuration of a pool that the built-in picker serves.
#[derive(Clone, Copy)]
pub(crate) enum ConfigurationOf<'c> {
    /// A ConfigMap that the pool's annotation names, or that bears the name of the picker in whose place the built-in one is.
    GatewaysPool,
    /// This process is the pool's picker: what it was given, or else a ConfigMap that the annotation names.
    Picker(Option<&'c Arc<PickerConfiguration>>),
}

/// The configuration of a pool that the gateway serves, where the built-in picker does so.
pub(crate) fn in_force(index: &Index<'_>, pool: &InferencePool) -> Option<Arc<PickerConfiguration>> {
    let picker = pool.spec.endpoint_picker.as_ref();
    let has_own = picker.is_some_and(|picker| picker::port(index, &pool.meta.namespace, picker).is_ok());
    if has_own { None } else { read(index, pool, ConfigurationOf::GatewaysPool).configuration }
}

/// The configuration that a pool's own endpoint picker reads, if it is `pailou picker`.
pub(crate) fn in_picker(index: &Index<'_>, pool: &InferencePool) -> Option<Arc<PickerConfiguration>> {
    read(index, pool, ConfigurationOf::Picker(None)).configuration
}

/// Reads a pool's configuration.
pub(crate) fn read(index: &Index<'_>, pool: &InferencePool, of: ConfigurationOf<'_>) -> PoolConfiguration {
    if let ConfigurationOf::Picker(Some(given)) = of {
        return PoolConfiguration { configuration: Some(given.clone()), ..PoolConfiguration::default() };
    }
    let is_picker_replaced = matches!(of, ConfigurationOf::GatewaysPool);
    let Some(source) = ConfigurationSource::of(pool) else { return PoolConfiguration::default() };
    let map = index.config_maps.shared(&pool.meta.namespace, source.name());
    match (source, map) {
        (ConfigurationSource::Named { name, .. }, None) => {
            let message = format!("there is no ConfigMap {name:?} in namespace {}", pool.meta.namespace);
            PoolConfiguration { problem: Some(problem("RefNotFound", &message)), ..PoolConfiguration::default() }
        }
        (ConfigurationSource::Named { key, .. }, Some(map)) => match key.or_else(|| choose_key(map)) {
            Some(key) => of_key(index, map, key),
            None => {
                let message = format!(
                    "ConfigMap {}/{}: several keys and none is {DEFAULT_KEY}: write NAME/KEY",
                    map.meta.namespace, map.meta.name
                );
                PoolConfiguration {
                    problem: Some(problem("InvalidEndpointPickerConfig", &message)),
                    ..PoolConfiguration::default()
                }
            }
        },
        (ConfigurationSource::OfPicker { .. }, Some(map)) if is_picker_replaced && map.spec.data.contains_key(DEFAULT_KEY) => {
            of_picker(index, map)
        }
        (ConfigurationSource::OfPicker { .. }, _) => PoolConfiguration::default(),
    }
}

/// A configuration where the pool's own endpoint picker chooses.
pub(crate) fn without_effect(pool: &InferencePool) -> PoolConfiguration {
    let is_named = matches!(ConfigurationSource::of(pool), Some(ConfigurationSource::Named { .. }));
    let warning = || format!("annotation {ENDPOINT_PICKER_CONFIG_ANNOTATION} has no effect where {FOREIGN_PICKER}");
    PoolConfiguration { warnings: is_named.then(warning).into_iter().collect(), ..PoolConfiguration::default() }
}

/// The configuration of an absent picker. Its key is a flag of the picker, which nobody sees here.
fn of_picker(index: &Index<'_>, map: &Arc<ConfigMap>) -> PoolConfiguration {
    let mut own = own_keys(map);
    let (first, is_one) = (own.next(), own.next().is_none());
    let mut found = of_key(index, map, first.filter(|_| is_one).unwrap_or(DEFAULT_KEY));
    if !is_one {
        found.warnings.push(format!(
            "{}: one of several keys that the picker may have been told to read; name one by the annotation \
             {ENDPOINT_PICKER_CONFIG_ANNOTATION}",
            found.origin
        ));
    }
    found
}

fn own_keys(map: &ConfigMap) -> impl Iterator<Item = &str> {
    map.spec.data.keys().map(String::as_str).filter(|key| !CHART_KEYS.contains(key))
}

/// The default key, or else the only one.
fn choose_key(map: &ConfigMap) -> Option<&str> {
    let mut keys = map.spec.data.keys().chain(map.spec.binary_data.keys());
    let first = keys.next();
    if map.spec.bytes(DEFAULT_KEY).is_some() {
        Some(DEFAULT_KEY)
    } else {
        first.filter(|_| keys.next().is_none()).map(String::as_str)
    }
}

fn of_key(index: &Index<'_>, map: &Arc<ConfigMap>, key: &str) -> PoolConfiguration {
    let origin = format!("ConfigMap {}/{}, key {key}", map.meta.namespace, map.meta.name);
    match index.configurations.read(map, key) {
        Ok(configuration) => {
            let warnings = unsupported(&origin, &configuration.unsupported).into_iter().collect();
            PoolConfiguration { configuration: Some(configuration), problem: None, warnings, origin }
        }
        Err(error) => {
            let problem = problem("InvalidEndpointPickerConfig", &format!("{origin}: {error}"));
            PoolConfiguration { problem: Some(problem), origin, ..PoolConfiguration::default() }
        }
    }
}

fn unsupported(origin: &str, parts: &[String]) -> Option<String> {
    let (first, others) = parts.split_at(parts.len().min(MAX_NAMED));
    let more = if others.is_empty() { String::new() } else { format!("; {} others", others.len()) };
    (!first.is_empty()).then(|| format!("{origin}: no effect: {}{more}", first.join("; ")))
}

fn problem(reason: &'static str, message: &str) -> Problem {
    let annotation = format!("metadata.annotations[{ENDPOINT_PICKER_CONFIG_ANNOTATION}]");
    Problem::refs(reason, format!("{annotation}: {message}; the pool's other annotations are in force"))
}
