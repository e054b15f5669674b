//! Scorers and their weights.

use pailou_api::endpoint_picker_config::{EndpointPickerConfig, PluginSpec, SchedulingProfile, plugin_parameters};
use pailou_snapshot::ScorerWeights;
use serde::Deserialize;

use super::{filters::ContextParameters, plugin};

/// Greatest weight of a scorer.
const MOST_WEIGHT: f32 = 1e6;

/// Types of scorers, and where each one's weight is.
type WeightOf = fn(&mut ScorerWeights) -> &mut f32;
const SCORERS: [(&str, WeightOf); 11] = [
    ("queue-scorer", |weights| &mut weights.queue),
    ("running-requests-size-scorer", |weights| &mut weights.running),
    ("kv-cache-utilization-scorer", |weights| &mut weights.kv_cache),
    ("prefix-cache-scorer", |weights| &mut weights.prefix),
    ("precise-prefix-cache-scorer", |weights| &mut weights.prefix),
    ("lora-affinity-scorer", |weights| &mut weights.adapter),
    ("load-aware-scorer", |weights| &mut weights.load_aware),
    ("active-request-scorer", |weights| &mut weights.active_requests),
    ("token-load-scorer", |weights| &mut weights.token_load),
    ("no-hit-lru-scorer", |weights| &mut weights.no_hit),
    ("context-length-aware", |weights| &mut weights.context_length),
];

/// Parameters of all scorers; each type has some of them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PrefixParameters {
    match_length_weight: Option<f32>,
    match_length_scale_tokens: Option<f32>,
    prefix_match_info_producer_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadAwareParameters {
    threshold: Option<f32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TokenLoadParameters {
    queue_threshold_tokens: Option<f32>,
    in_flight_load_producer_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ActiveRequestParameters {
    idle_threshold: Option<u32>,
    max_busy_score: Option<f32>,
    request_timeout: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NoHitParameters {
    lru_size: Option<u32>,
    prefix_plugin_name: Option<String>,
    prefix_plugin_type: Option<String>,
    prefix_match_info_producer_name: Option<String>,
}

#[derive(Default, Deserialize)]
struct NoParameters {}

/// Whether a type is a scorer that is honoured.
pub(super) fn is_scorer(kind: &str) -> bool {
    SCORERS.iter().any(|(scorer, _)| *scorer == kind)
}

/// Whether a scorer's parameters are in order.
///
/// # Errors
/// They are not.
pub(super) fn check(scorer: &PluginSpec, root: &str) -> Result<(), String> {
    set_parameters(&mut ScorerWeights::default(), scorer, root)
}

fn set_parameters(weights: &mut ScorerWeights, scorer: &PluginSpec, root: &str) -> Result<(), String> {
    let positive = |value: Option<f32>, field: &str, own: f32| match value.unwrap_or(own) {
        value if value.is_finite() && value > 0.0 => Ok(value),
        value => Err(format!("{root}.{field}: {value} is no positive number")),
    };
    match scorer.kind.as_str() {
        "prefix-cache-scorer" => {
            // There is one source of matches.
            let PrefixParameters { match_length_weight, match_length_scale_tokens, prefix_match_info_producer_name: _ } =
                plugin_parameters(scorer, root)?;
            weights.prefix_length = match_length_weight.unwrap_or(0.0);
            if !(0.0..=1.0).contains(&weights.prefix_length) {
                return Err(format!("{root}.matchLengthWeight: {} is not between 0 and 1", weights.prefix_length));
            }
            weights.prefix_length_tokens = positive(match_length_scale_tokens, "matchLengthScaleTokens", 8192.0)?;
        }
        "load-aware-scorer" => {
            let LoadAwareParameters { threshold } = plugin_parameters(scorer, root)?;
            weights.load_threshold = positive(threshold, "threshold", 128.0)?;
        }
        "token-load-scorer" => {
            let TokenLoadParameters { queue_threshold_tokens, in_flight_load_producer_name: _ } = plugin_parameters(scorer, root)?;
            weights.most_tokens = positive(queue_threshold_tokens, "queueThresholdTokens", 4_194_304.0)?;
        }
        "active-request-scorer" => {
            // Requests end by guards: none has to be forgotten after a time.
            let ActiveRequestParameters { idle_threshold, max_busy_score, request_timeout: _ } = plugin_parameters(scorer, root)?;
            weights.idle_requests = idle_threshold.unwrap_or(0) as f32;
            weights.most_busy_score = max_busy_score.unwrap_or(1.0);
            if !(0.0..=1.0).contains(&weights.most_busy_score) {
                return Err(format!("{root}.maxBusyScore: {} is not between 0 and 1", weights.most_busy_score));
            }
        }
        "no-hit-lru-scorer" => {
            // New prompts fade instead of being forgotten at a number; the matches are the picker's.
            let NoHitParameters { lru_size: _, prefix_plugin_name: _, prefix_plugin_type: _, prefix_match_info_producer_name: _ } =
                plugin_parameters(scorer, root)?;
        }
        "context-length-aware" => {
            weights.filters_context |= plugin_parameters::<ContextParameters>(scorer, root)?.enable_filtering;
        }
        // Its parameters are those of the producer that it wraps.
        "precise-prefix-cache-scorer" => {}
        _ => {
            let NoParameters {} = plugin_parameters(scorer, root)?;
        }
    }
    Ok(())
}

/// Weights of a profile's scorers, or of all; `None` without any.
///
/// # Errors
/// A weight is none, or a parameter is wrong.
pub(super) fn weights(config: &EndpointPickerConfig, profile: Option<&SchedulingProfile>) -> Result<Option<ScorerWeights>, String> {
    let mut weights = ScorerWeights::default();
    let mut has_scorers = false;
    let mut take = |scorer: &PluginSpec, weight: f32| {
        let Some((_, weight_of)) = SCORERS.iter().find(|(kind, _)| *kind == scorer.kind) else { return Ok(()) };
        if !(weight.is_finite() && (0.0..=MOST_WEIGHT).contains(&weight)) {
            return Err(format!("weight of {}: {weight} is not between 0 and {MOST_WEIGHT}", scorer.name()));
        }
        has_scorers = true;
        *weight_of(&mut weights) += weight;
        set_parameters(&mut weights, scorer, &format!("plugin {}", scorer.name()))
    };
    match profile {
        Some(profile) => profile.plugins.iter().try_for_each(|plugin| {
            take(plugin::find(&config.plugins, &plugin.plugin_ref, "schedulingProfiles")?, plugin.weight.unwrap_or(1.0))
        })?,
        None => config.plugins.iter().try_for_each(|plugin| take(plugin, 1.0))?,
    }
    Ok(has_scorers.then_some(weights))
}
