//! Objects that set the fields of a rule's policy, for those who explain it.

use std::sync::Arc;

use pailou_api::{
    Resource,
    envoy::{backend_traffic_policy::BackendTrafficPolicySpec, security_policy::SecurityPolicySpec},
};
use pailou_snapshot::{FieldOrigin, HttpFilter};

use super::policy_targets::TargetedSpec;

/// A policy whose fields rules name.
pub(super) trait NamedFields {
    /// The fields that are set, as rules name them.
    fn set_fields(&self) -> Vec<&'static str>;
}

/// Fields that these policies set, the parent's first where two are merged.
pub(super) fn of_policies<'a, S: TargetedSpec + NamedFields + 'a>(
    policies: impl IntoIterator<Item = &'a Resource<S>>,
) -> Vec<FieldOrigin> {
    let of_one = |policy: &'a Resource<S>| {
        let object: Arc<str> = format!("{} {}/{}", S::KIND, policy.meta.namespace, policy.meta.name).into();
        policy.spec.set_fields().into_iter().map(move |field| FieldOrigin { field, object: object.clone() })
    };
    policies.into_iter().flat_map(of_one).collect()
}

/// The origins of a policy with a field that a route sets itself.
pub(crate) fn with_own(origins: &[FieldOrigin], field: &'static str, object: &Arc<str>) -> Arc<[FieldOrigin]> {
    origins.iter().cloned().chain([FieldOrigin { field, object: object.clone() }]).collect()
}

/// The origins of fields that a rule has no filter of its own for.
pub(crate) fn beside(origins: &Arc<[FieldOrigin]>, own: &[HttpFilter]) -> Arc<[FieldOrigin]> {
    let is_own = |origin: &FieldOrigin| own.iter().any(|filter| filter.name() == origin.field);
    match origins.iter().any(is_own) {
        true => origins.iter().filter(|origin| !is_own(origin)).cloned().collect(),
        false => origins.clone(),
    }
}

impl NamedFields for BackendTrafficPolicySpec {
    fn set_fields(&self) -> Vec<&'static str> {
        let http = self.timeout.as_ref().and_then(|timeout| timeout.http.as_ref());
        let clocks = http.is_some_and(|http| {
            http.request_timeout.is_some() || http.max_stream_duration.is_some() || http.stream_idle_timeout.is_some()
        });
        let of_attempt = self.retry.as_ref().and_then(|retry| retry.per_retry.as_ref()).is_some_and(|it| it.timeout.is_some());
        named([
            (clocks || of_attempt, "timeouts"),
            (self.retry.is_some(), "retry"),
            (self.circuit_breaker.is_some(), "circuitBreaker"),
            (self.admission_control.is_some(), "admissionControl"),
            (self.request_buffer.as_ref().is_some_and(|buffer| buffer.limit.is_some()), "requestBuffer"),
            (!self.http_upgrade.is_empty() || self.request_buffer.is_some(), "httpUpgrade"),
            (self.tracing().is_some(), "telemetry"),
            (!self.response_override.is_empty(), "responseOverride"),
            (self.fault_injection.is_some(), "faultInjection"),
            (self.rate_limit.is_some(), "rateLimit"),
            (!self.compression.is_empty() || !self.compressor.is_empty(), "compression"),
            (self.bandwidth_limit.is_some(), "bandwidthLimit"),
        ])
    }
}

impl NamedFields for SecurityPolicySpec {
    fn set_fields(&self) -> Vec<&'static str> {
        named([
            (self.cors.is_some(), "cors"),
            (self.csrf.is_some(), "csrf"),
            (self.ext_auth.is_some(), "extAuth"),
            (self.api_key_auth.is_some(), "apiKeyAuth"),
            (self.basic_auth.is_some(), "basicAuth"),
            (self.oidc.is_some(), "oidc"),
            (self.jwt.is_some(), "jwt"),
            (self.authorization.is_some(), "authorization"),
        ])
    }
}

fn named<const N: usize>(fields: [(bool, &'static str); N]) -> Vec<&'static str> {
    fields.into_iter().filter_map(|(is_set, field)| is_set.then_some(field)).collect()
}
