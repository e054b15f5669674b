//! Feature gates and queues.

use std::time::Duration;

use pailou_api::endpoint_picker_config::{EndpointPickerConfig, FlowControl, PriorityBand};
use pailou_snapshot::Queueing;

use super::plugin;
use crate::queueing::{DEFAULT_MAX_BYTES, DEFAULT_MAX_REQUESTS, DEFAULT_TIMEOUT, MOST_TIMEOUT};

const FLOW_CONTROL: &str = "flowControl";
/// Other gates of llm-d, without a part here.
const OTHER_GATES: [&str; 1] = ["haPopulateNonLeaderDatastore"];

/// Queues as the file has them; `None` unless their feature gate is on.
///
/// # Errors
/// A gate does not exist, or a reference leads nowhere.
pub(super) fn queueing(
    config: &EndpointPickerConfig,
    max_concurrency: Option<u32>,
    unsupported: &mut Vec<String>,
) -> Result<Option<Queueing>, String> {
    let is_on = is_on(&config.feature_gates)?;
    let settings = config.flow_control.clone().unwrap_or_default();
    if let Some(detector) = &settings.saturation_detector {
        plugin::find(&config.plugins, &detector.plugin_ref, "flowControl.saturationDetector")?;
    }
    if !is_on {
        if config.flow_control.is_some() {
            unsupported.push("flowControl: it has no effect without featureGates: [flowControl]".to_owned());
        }
        if max_concurrency.is_some() {
            unsupported.push("concurrency-detector: it has no effect without featureGates: [flowControl]".to_owned());
        }
        return Ok(None);
    }
    name_unsupported(&settings, unsupported);
    let band = settings.default_priority_band.unwrap_or_default();
    let max_bytes =
        [band.max_bytes, settings.max_bytes].into_iter().flatten().map(|most| most.bytes()).filter(|most| *most > 0).min();
    let max_requests = [band.max_requests, settings.max_requests].into_iter().flatten().filter(|most| *most > 0).min();
    let timeout = settings.default_request_ttl.map_or(DEFAULT_TIMEOUT, |ttl| ttl.as_std());
    let timeout = if timeout.is_zero() || timeout > MOST_TIMEOUT { bounded(timeout, unsupported) } else { timeout };
    Ok(Some(Queueing {
        max_requests: max_requests.unwrap_or(DEFAULT_MAX_REQUESTS),
        max_bytes: max_bytes.unwrap_or(DEFAULT_MAX_BYTES.bytes()),
        timeout,
        max_concurrency,
        // As llm-d, whose ceiling is the same for all priorities unless a policy of its own says otherwise.
        reserve: 0,
        evicts: settings.enable_eviction,
    }))
}

fn is_on(gates: &[String]) -> Result<bool, String> {
    let mut is_on = false;
    for (place, gate) in gates.iter().enumerate() {
        let (name, value) = gate.split_once('=').unwrap_or((gate, "true"));
        let value: bool = value.parse().map_err(|_| format!("featureGates[{place}]: {gate:?} is neither true nor false"))?;
        match name {
            FLOW_CONTROL => is_on = value,
            other if OTHER_GATES.contains(&other) => {}
            _ => return Err(format!("featureGates[{place}]: there is no gate {name:?}")),
        }
    }
    Ok(is_on)
}

fn bounded(timeout: Duration, unsupported: &mut Vec<String>) -> Duration {
    unsupported.push(format!("flowControl.defaultRequestTTL: {timeout:?} is longer than requests may wait: {MOST_TIMEOUT:?} are"));
    MOST_TIMEOUT
}

fn name_unsupported(settings: &FlowControl, unsupported: &mut Vec<String>) {
    let bands =
        || settings.priority_bands.iter().chain(&settings.default_priority_band).chain(&settings.default_negative_priority_band);
    let other = |named: fn(&PriorityBand) -> &Option<String>, own: &str| {
        bands().any(|band| named(band).as_deref().is_some_and(|policy| policy != own))
    };
    let mut note = |is_set: bool, what: &str| {
        if is_set {
            unsupported.push(format!("flowControl.{what}"));
        }
    };
    note(!settings.priority_bands.is_empty(), "priorityBands: all priorities have the bounds of defaultPriorityBand");
    note(
        settings.default_negative_priority_band.is_some(),
        "defaultNegativePriorityBand: all priorities have the bounds of defaultPriorityBand",
    );
    note(other(|band| &band.fairness_policy_ref, "round-robin-fairness-policy"), "fairnessPolicyRef: flows take turns by tokens");
    note(other(|band| &band.ordering_policy_ref, "fcfs-ordering-policy"), "orderingPolicyRef: the first of a flow goes first");
    note(
        settings.no_endpoint_request_ttl.is_some(),
        "noEndpointRequestTTL: requests to a pool without endpoints are refused at once",
    );
    note(settings.usage_limit_policy_plugin_ref.is_some(), "usageLimitPolicyPluginRef: the ceiling is 1");
}
