//! llm-d's `EndpointPickerConfig`: the configuration file of its endpoint picker. It is no object of a cluster, but the text of a ConfigMap.

mod source;

use serde::Deserialize;
use serde_json::Value;

use crate::{Duration, parse, quantity::Quantity};

pub use source::{ConfigurationSource, ENDPOINT_PICKER_CONFIG_ANNOTATION};

/// API versions that are read, the older one last.
pub const API_VERSIONS: [&str; 2] = ["llm-d.ai/v1alpha1", "inference.networking.x-k8s.io/v1alpha1"];
/// Most plugins, profiles, and plugins of a profile.
const MAX_PLUGINS: usize = 256;

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPickerConfig {
    /// One of [`API_VERSIONS`].
    pub api_version: String,
    /// `EndpointPickerConfig`.
    pub kind: String,
    /// `name`, `name=true` or `name=false`.
    #[serde(default)]
    pub feature_gates: Vec<String>,
    /// Plugins, which profiles refer to.
    #[serde(default)]
    pub plugins: Vec<PluginSpec>,
    /// Ways to choose an endpoint; none is one with every plugin.
    #[serde(default)]
    pub scheduling_profiles: Vec<SchedulingProfile>,
    /// Sources of data about endpoints.
    #[serde(default)]
    pub data_layer: Option<Value>,
    /// Queues, with the feature gate `flowControl`.
    #[serde(default)]
    pub flow_control: Option<FlowControl>,
    /// Forms of requests.
    #[serde(default)]
    pub request_handler: Option<Value>,
    /// Deprecated: a parser.
    #[serde(default)]
    pub parser: Option<PluginRef>,
    /// Deprecated: a detector.
    #[serde(default)]
    pub saturation_detector: Option<PluginRef>,
}

/// A plugin.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct PluginSpec {
    /// Its name in references; the type if there is none.
    #[serde(default)]
    pub name: Option<String>,
    /// Its type, such as `queue-scorer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its settings, by its type.
    #[serde(default)]
    pub parameters: Option<Value>,
}

impl PluginSpec {
    /// Its name in references.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.kind)
    }
}

/// A way to choose an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct SchedulingProfile {
    /// Its name.
    pub name: String,
    /// Plugins that take part.
    #[serde(default)]
    pub plugins: Vec<ProfilePlugin>,
}

/// A plugin of a profile.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfilePlugin {
    /// Its name.
    pub plugin_ref: String,
    /// Weight of a scorer; 1 if there is none.
    #[serde(default)]
    pub weight: Option<f32>,
}

/// A reference to a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginRef {
    /// Its name.
    pub plugin_ref: String,
}

/// Queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowControl {
    /// Most bytes of all that wait.
    #[serde(default)]
    pub max_bytes: Option<Quantity>,
    /// Most requests that wait; 0 is no bound.
    #[serde(default)]
    pub max_requests: Option<u32>,
    /// Longest wait; 0 is without end.
    #[serde(default, rename = "defaultRequestTTL")]
    pub default_request_ttl: Option<Duration>,
    /// The same while there is no endpoint.
    #[serde(default, rename = "noEndpointRequestTTL")]
    pub no_endpoint_request_ttl: Option<Duration>,
    /// Bounds of priorities that `priority_bands` does not name.
    #[serde(default)]
    pub default_priority_band: Option<PriorityBand>,
    /// The same of negative ones.
    #[serde(default)]
    pub default_negative_priority_band: Option<PriorityBand>,
    /// Bounds of single priorities.
    #[serde(default)]
    pub priority_bands: Vec<PriorityBand>,
    /// Ceilings.
    #[serde(default)]
    pub usage_limit_policy_plugin_ref: Option<String>,
    /// Judge of a pool's room.
    #[serde(default)]
    pub saturation_detector: Option<PluginRef>,
    /// Whether requests of negative priority are broken off for others.
    #[serde(default)]
    pub enable_eviction: bool,
}

/// Bounds of a priority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriorityBand {
    /// The priority; none in defaults.
    #[serde(default)]
    pub priority: Option<i64>,
    /// Most bytes that wait.
    #[serde(default)]
    pub max_bytes: Option<Quantity>,
    /// Most requests that wait.
    #[serde(default)]
    pub max_requests: Option<u32>,
    /// Order between flows.
    #[serde(default)]
    pub fairness_policy_ref: Option<String>,
    /// Order within a flow.
    #[serde(default)]
    pub ordering_policy_ref: Option<String>,
}

impl EndpointPickerConfig {
    /// Reads one from YAML. A field that does not exist is an error, as in llm-d.
    ///
    /// # Errors
    /// Why it does not decode, with the field; or it is of another kind or version.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = parse::fragment(text, "")?;
        if config.kind != "EndpointPickerConfig" {
            return Err(format!("kind: {:?}; EndpointPickerConfig is expected", config.kind));
        }
        if !API_VERSIONS.contains(&config.api_version.as_str()) {
            return Err(format!("apiVersion: {:?}; {} is expected", config.api_version, API_VERSIONS[0]));
        }
        config.check_sizes()?;
        Ok(config)
    }

    fn check_sizes(&self) -> Result<(), String> {
        let profiles = self.scheduling_profiles.iter().map(|profile| ("schedulingProfiles[].plugins", profile.plugins.len()));
        let lists = [
            ("plugins", self.plugins.len()),
            ("schedulingProfiles", self.scheduling_profiles.len()),
            ("flowControl.priorityBands", self.flow_control.as_ref().map_or(0, |it| it.priority_bands.len())),
        ];
        match lists.into_iter().chain(profiles).find(|(_, length)| *length > MAX_PLUGINS) {
            Some((field, length)) => Err(format!("{field}: {length} entries; at most {MAX_PLUGINS} are read")),
            None => Ok(()),
        }
    }
}

/// Reads a plugin's parameters. A field that their type does not have is an error.
///
/// # Errors
/// Why they do not decode, with the field; `root` begins its path.
pub fn plugin_parameters<T: serde::de::DeserializeOwned + Default>(plugin: &PluginSpec, root: &str) -> Result<T, String> {
    match &plugin.parameters {
        Some(value) => parse::fragment_of(value.clone(), root),
        None => Ok(T::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

    #[test]
    fn a_field_that_does_not_exist_is_an_error() {
        let config = EndpointPickerConfig::parse(&format!(
            "{HEAD}plugins: [{{type: queue-scorer}}, {{name: cache, type: prefix-cache-scorer, parameters: {{matchLengthWeight: 0.5}}}}]\n\
             flowControl: {{defaultRequestTTL: 1m30s, priorityBands: [{{priority: -1, maxBytes: 1Gi}}]}}\n"
        ))
        .unwrap();
        assert_eq!((config.plugins[0].name(), config.plugins[1].name()), ("queue-scorer", "cache"));
        let error = EndpointPickerConfig::parse(&format!("{HEAD}plugins: [{{type: a, parameter: {{}}}}]\n")).unwrap_err();
        assert!(error.contains("plugins[0].parameter") && error.contains("parameters"), "{error}");
    }

    #[test]
    fn lists_are_bounded() {
        let plugins: Vec<_> = (0..=MAX_PLUGINS).map(|number| format!("{{name: p{number}, type: queue-scorer}}")).collect();
        let error = EndpointPickerConfig::parse(&format!("{HEAD}plugins: [{}]\n", plugins.join(", "))).unwrap_err();
        assert!(error.contains("plugins: 257 entries; at most 256"), "{error}");
    }

    #[test]
    fn another_kind_or_version_is_an_error() {
        for (from, to, field) in [("EndpointPickerConfig", "ConfigMap", "kind"), ("v1alpha1", "v9", "apiVersion")] {
            let error = EndpointPickerConfig::parse(&HEAD.replace(from, to)).unwrap_err();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
