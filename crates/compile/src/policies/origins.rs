//! Objects that set the fields of a rule's policy, for those who explain it.

use std::sync::Arc;

use pailou_api::{BackendTrafficPolicy, envoy::backend_traffic_policy::BackendTrafficPolicySpec};
use pailou_snapshot::FieldOrigin;

/// Fields that these BackendTrafficPolicies set, the parent's first where two are merged.
pub(super) fn of_policies<'a>(policies: impl IntoIterator<Item = &'a BackendTrafficPolicy>) -> Vec<FieldOrigin> {
    let of_one = |policy: &'a BackendTrafficPolicy| {
        let object: Arc<str> = format!("BackendTrafficPolicy {}/{}", policy.meta.namespace, policy.meta.name).into();
        set(&policy.spec).into_iter().map(move |field| FieldOrigin { field, object: object.clone() })
    };
    policies.into_iter().flat_map(of_one).collect()
}

/// The origins of a policy with a field that a route sets itself.
pub(crate) fn with_own(origins: &[FieldOrigin], field: &'static str, object: &Arc<str>) -> Arc<[FieldOrigin]> {
    origins.iter().cloned().chain([FieldOrigin { field, object: object.clone() }]).collect()
}

fn set(spec: &BackendTrafficPolicySpec) -> Vec<&'static str> {
    let http = spec.timeout.as_ref().and_then(|timeout| timeout.http.as_ref());
    let clocks = http.is_some_and(|http| {
        http.request_timeout.is_some() || http.max_stream_duration.is_some() || http.stream_idle_timeout.is_some()
    });
    let of_attempt = spec.retry.as_ref().and_then(|retry| retry.per_retry.as_ref()).is_some_and(|it| it.timeout.is_some());
    let fields = [
        (clocks || of_attempt, "timeouts"),
        (spec.retry.is_some(), "retry"),
        (spec.circuit_breaker.is_some(), "circuitBreaker"),
        (spec.admission_control.is_some(), "admissionControl"),
        (spec.request_buffer.as_ref().is_some_and(|buffer| buffer.limit.is_some()), "requestBuffer"),
        (!spec.http_upgrade.is_empty() || spec.request_buffer.is_some(), "httpUpgrade"),
    ];
    fields.into_iter().filter_map(|(is_set, field)| is_set.then_some(field)).collect()
}
