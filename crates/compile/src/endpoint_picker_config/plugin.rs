//! Effect of each type of plugin.

use pailou_api::endpoint_picker_config::{EndpointPickerConfig, PluginSpec, SchedulingProfile, plugin_parameters};
use pailou_snapshot::{KvEvents, ModelServer};
use serde::{Deserialize, de::IgnoredAny};

use super::filters::{ContextParameters, label_filter};
use crate::kv_events::DEFAULT_MAX_BLOCKS;

/// Effect of a plugin.
pub(super) enum PluginUse {
    /// It does what the picker does anyway, or is a scorer.
    Honoured,
    /// Engines publish events there.
    KvEvents(KvEvents),
    /// Requests under way at which an endpoint has no room for more.
    MaxConcurrency(u32),
    /// Label of Pods with context lengths.
    ContextLabel(String),
    /// Engine whose metrics are read.
    Engine(ModelServer),
    /// None, for this reason.
    Unsupported(String),
}

/// Types that the picker's own working stands for, whatever their parameters.
const BUILT_IN: [&str; 11] = [
    "max-score-picker",
    "single-profile-handler",
    "disagg-headers-handler",
    "prefill-header-handler",
    "decode-filter",
    "prefill-filter",
    "inflight-load-producer",
    "token-producer",
    "endpoint-notification-source",
    "round-robin-fairness-policy",
    "fcfs-ordering-policy",
];
/// Types whose parameters are read with the profiles.
const OF_PROFILES: [&str; 7] = [
    "disagg-profile-handler",
    "pd-profile-handler",
    "prefix-based-pd-decider",
    "always-disagg-pd-decider",
    "label-selector-filter",
    "by-label-selector",
    "by-label",
];
/// Types of parsers whose requests it reads.
const PARSERS: [&str; 4] = ["openai-parser", "anthropic-parser", "vllmhttp-parser", "passthrough-parser"];
/// Reason for all types of topology.
const NO_TOPOLOGY: &str = "hosts, racks and zones of Pods are not read: those that prefill are chosen by load and prefixes";
/// Types that llm-d has and the picker has no part for.
const WITHOUT_PART: [(&str, &str); 29] = [
    ("vllmgrpc-parser", "vLLM's own gRPC is not read: its requests go by load alone"),
    ("random-picker", "the best score is picked"),
    ("weighted-random-picker", "the best score is picked"),
    ("session-affinity-scorer", "sessions are the gateway's: HTTPRoute sessionPersistence"),
    ("session-affinity-filter", "sessions are the gateway's: HTTPRoute sessionPersistence"),
    ("session-id-producer", "sessions are the gateway's: HTTPRoute sessionPersistence"),
    ("latency-scorer", "latency objectives of requests count without it"),
    ("predicted-latency-producer", "times are learnt in the picker"),
    ("slo-headroom-tier-filter", "latency objectives of requests count without it"),
    ("latency-slo-admitter", "sheddable requests without an endpoint that keeps their objective are refused without it"),
    ("probabilistic-admitter", "sheddable requests are refused where the pool is saturated"),
    ("endpoint-attribute-scorer", "attributes of endpoints are not read"),
    ("endpoint-attribute-filter", "attributes of endpoints are not read"),
    ("mm-embeddings-cache-scorer", "caches of embeddings are not known"),
    ("mm-embeddings-cache-producer", "caches of embeddings are not known"),
    ("header-label-affinity-scorer", "labels of endpoints are not read"),
    ("topology-affinity-scorer", NO_TOPOLOGY),
    ("topology-affinity-filter", NO_TOPOLOGY),
    ("topology-extractor", NO_TOPOLOGY),
    ("topology-stamp-handler", NO_TOPOLOGY),
    ("always-disagg-multimodal-decider", "no endpoints encode for others"),
    ("header-phase-profile-handler", "one profile chooses all endpoints"),
    ("prefix-cache-affinity-filter", "the score weighs cached prefixes"),
    ("utilization-filter", "full endpoints come last without it"),
    ("encode-filter", "no endpoints encode for others"),
    ("header-profile-handler", "one profile chooses all endpoints"),
    ("data-parallel-profile-handler", "ranks are ports of the pool"),
    ("burst-prefix-cache-producer", "prompts just sent somewhere count without it"),
    ("p2p-source-producer", "caches are not moved between endpoints"),
];

/// Effect of a plugin. `root` begins the paths of its parameters.
///
/// # Errors
/// There is no such type, or its parameters are wrong.
pub(super) fn effect(plugin: &PluginSpec, root: &str) -> Result<PluginUse, String> {
    let kind = plugin.kind.as_str();
    if kind == "context-length-aware" {
        return plugin_parameters::<ContextParameters>(plugin, root)?.label(root).map(PluginUse::ContextLabel);
    }
    if OF_PROFILES.contains(&kind) {
        return label_filter(plugin, root).map(|_| PluginUse::Honoured);
    }
    if super::scorers::is_scorer(kind) {
        return super::scorers::check(plugin, root).map(|()| PluginUse::Honoured);
    }
    if BUILT_IN.contains(&kind) || PARSERS.contains(&kind) {
        let is_set = plugin.parameters.as_ref().is_some_and(|it| it.as_object().is_some_and(|fields| !fields.is_empty()));
        return Ok(if is_set { PluginUse::Unsupported("it works without its parameters".to_owned()) } else { PluginUse::Honoured });
    }
    if let Some((_, why)) = WITHOUT_PART.iter().find(|(known, _)| *known == kind) {
        return Ok(PluginUse::Unsupported((*why).to_owned()));
    }
    match kind {
        "approx-prefix-cache-producer" => match plugin.parameters {
            Some(_) => Ok(PluginUse::Unsupported("blocks and their number are the picker's own".to_owned())),
            None => Ok(PluginUse::Honoured),
        },
        "precise-prefix-cache-producer" => plugin_parameters(plugin, root).map(precise),
        "metrics-data-source" => plugin_parameters(plugin, root).map(|parameters| metrics_source(&parameters)),
        "core-metrics-extractor" => plugin_parameters(plugin, root).and_then(|parameters| metrics_extractor(parameters, root)),
        "utilization-detector" => plugin_parameters(plugin, root).map(utilization),
        "concurrency-detector" => plugin_parameters(plugin, root).map(concurrency),
        _ => Err(format!("there is no plugin {kind:?}")),
    }
}

/// The plugin that a reference names.
///
/// # Errors
/// There is none.
pub(super) fn find<'a>(plugins: &'a [PluginSpec], name: &str, at: &str) -> Result<&'a PluginSpec, String> {
    plugins.iter().find(|plugin| plugin.name() == name).ok_or_else(|| format!("{at}.pluginRef: there is no plugin {name:?}"))
}

/// Plugins of a profile with their places in the file, or all of them.
///
/// # Errors
/// A reference leads nowhere.
pub(super) fn of_profile<'a>(
    config: &'a EndpointPickerConfig,
    profile: Option<&SchedulingProfile>,
) -> Result<Vec<(usize, &'a PluginSpec)>, String> {
    let all = || config.plugins.iter().enumerate();
    let Some(profile) = profile else { return Ok(all().collect()) };
    let found = profile.plugins.iter().map(|plugin| {
        let name = &plugin.plugin_ref;
        all().find(|(_, known)| known.name() == name).ok_or_else(|| format!("schedulingProfiles: there is no plugin {name:?}"))
    });
    found.collect()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PreciseParameters {
    token_processor_config: Option<IgnoredAny>,
    indexer_config: Option<IgnoredAny>,
    kv_events_config: Option<KvEventsConfig>,
    speculative_indexing: Option<bool>,
    #[serde(rename = "speculativeTTL")]
    speculative_ttl: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KvEventsConfig {
    zmq_endpoint: Option<String>,
    topic_filter: Option<String>,
    concurrency: Option<u32>,
    engine_type: Option<String>,
    discover_pods: Option<bool>,
    pod_discovery_config: PodDiscoveryConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodDiscoveryConfig {
    pod_label_selector: Option<String>,
    pod_namespace: Option<String>,
    socket_port: Option<u16>,
    replay_socket_port: Option<u16>,
}

/// Port of engines' events where none is given. Source: llm-d.
const SOCKET_PORT: u16 = 5557;

fn precise(parameters: PreciseParameters) -> PluginUse {
    // Block sizes come with events, all topics are read, and prompts just sent somewhere always count: the other parameters have no effect on
    // what is known in the end.
    let PreciseParameters {
        kv_events_config,
        token_processor_config: _,
        indexer_config: _,
        speculative_indexing: _,
        speculative_ttl: _,
    } = parameters;
    let events = kv_events_config.unwrap_or_default();
    if events.zmq_endpoint.is_some() || events.discover_pods == Some(false) {
        return PluginUse::Unsupported(
            "engines connect to no socket of the picker: with discoverPods it connects to theirs".to_owned(),
        );
    }
    let PodDiscoveryConfig { socket_port, replay_socket_port, pod_label_selector: _, pod_namespace: _ } =
        events.pod_discovery_config;
    PluginUse::KvEvents(KvEvents {
        port: socket_port.unwrap_or(SOCKET_PORT),
        replay_port: replay_socket_port,
        ranks: 1,
        max_blocks: DEFAULT_MAX_BLOCKS,
    })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UtilizationParameters {
    queue_depth_threshold: Option<f64>,
    kv_cache_util_threshold: Option<f64>,
    metrics_staleness_threshold: Option<String>,
    staleness_policy: Option<String>,
    headroom: Option<f64>,
}

fn utilization(parameters: UtilizationParameters) -> PluginUse {
    let UtilizationParameters { queue_depth_threshold, kv_cache_util_threshold, headroom, .. } = parameters;
    let is_own = |value: Option<f64>, own: f64| value.is_none_or(|value| value == own);
    let is_fresh = parameters.metrics_staleness_threshold.is_none() && parameters.staleness_policy.is_none();
    match is_own(queue_depth_threshold, 5.0) && is_own(kv_cache_util_threshold, 0.8) && is_own(headroom, 0.0) && is_fresh {
        true => PluginUse::Honoured,
        false => PluginUse::Unsupported(
            "an endpoint is full at 5 waiting requests or 80 % of its KV cache; figures that are old are estimated".to_owned(),
        ),
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConcurrencyParameters {
    concurrency_mode: Option<String>,
    max_concurrency: Option<u32>,
    max_token_concurrency: Option<u64>,
    headroom: Option<f64>,
}

/// Requests under way where none are given. Source: llm-d.
const MAX_CONCURRENCY: u32 = 100;

fn concurrency(parameters: ConcurrencyParameters) -> PluginUse {
    let is_by_requests = parameters.concurrency_mode.as_deref().is_none_or(|mode| mode == "requests");
    if !is_by_requests || parameters.max_token_concurrency.is_some() || parameters.headroom.is_some_and(|it| it != 0.0) {
        return PluginUse::Unsupported("endpoints are full by requests, not by tokens".to_owned());
    }
    PluginUse::MaxConcurrency(parameters.max_concurrency.unwrap_or(MAX_CONCURRENCY).max(1))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MetricsSourceParameters {
    scheme: Option<String>,
    path: Option<String>,
    insecure_skip_verify: Option<bool>,
    interval: Option<String>,
}

fn metrics_source(parameters: &MetricsSourceParameters) -> PluginUse {
    let MetricsSourceParameters { scheme, path, insecure_skip_verify: _, interval } = parameters;
    let is_own = |value: &Option<String>, own: &str| value.as_deref().is_none_or(|value| value == own);
    match is_own(scheme, "http") && is_own(path, "/metrics") && interval.is_none() {
        true => PluginUse::Honoured,
        false => PluginUse::Unsupported(
            "metrics are read from /metrics by the picker's own interval; over TLS with a BackendTLSPolicy on the pool".to_owned(),
        ),
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MetricsExtractorParameters {
    engine_label_key: Option<String>,
    default_engine: Option<String>,
    engine_configs: Vec<IgnoredAny>,
}

fn metrics_extractor(parameters: MetricsExtractorParameters, root: &str) -> Result<PluginUse, String> {
    let MetricsExtractorParameters { engine_label_key, default_engine, engine_configs } = parameters;
    if engine_label_key.is_some() || !engine_configs.is_empty() {
        return Ok(PluginUse::Unsupported("a pool has one engine, by defaultEngine, and its own names of metrics".to_owned()));
    }
    let Some(engine) = default_engine else { return Ok(PluginUse::Honoured) };
    match engine.as_str() {
        "vllm" => Ok(PluginUse::Engine(ModelServer::Vllm)),
        "sglang" => Ok(PluginUse::Engine(ModelServer::Sglang)),
        "trtllm-serve" | "triton-tensorrt-llm" => Ok(PluginUse::Engine(ModelServer::TensorRtLlm)),
        _ => Err(format!("{root}.defaultEngine: {engine:?} is none of vllm, sglang, trtllm-serve, triton-tensorrt-llm")),
    }
}
