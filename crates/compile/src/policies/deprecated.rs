//! Fields that Envoy Gateway calls deprecated: a condition of the policy names them.

use pailou_api::envoy::{backend_traffic_policy::BackendTrafficPolicySpec, security_policy::SecurityPolicySpec};

/// Deprecated field, and the one to use in its place.
type Names = (&'static str, &'static str);

const TARGET: Names = ("targetRef", "targetRefs");

/// Those that a SecurityPolicy sets.
pub(super) fn of_security(spec: &SecurityPolicySpec) -> Vec<Names> {
    let auth = spec.ext_auth.as_ref();
    let grpc = auth.and_then(|auth| auth.grpc.as_ref()).is_some_and(|server| server.backend_ref.is_some());
    let http = auth.and_then(|auth| auth.http.as_ref()).is_some_and(|server| server.backend_ref.is_some());
    set([
        (spec.target_ref.is_some(), TARGET),
        (grpc, ("extAuth.grpc.backendRef", "extAuth.grpc.backendRefs")),
        (http, ("extAuth.http.backendRef", "extAuth.http.backendRefs")),
    ])
}

/// Those that a BackendTrafficPolicy sets.
pub(super) fn of_traffic(spec: &BackendTrafficPolicySpec) -> Vec<Names> {
    set([(spec.target_ref.is_some(), TARGET), (!spec.compression.is_empty(), ("compression", "compressor"))])
}

/// That of a policy whose target alone can be deprecated.
pub(super) fn of_target(is_set: bool) -> Vec<Names> {
    set([(is_set, TARGET)])
}

fn set<const N: usize>(fields: [(bool, Names); N]) -> Vec<Names> {
    fields.into_iter().filter_map(|(is_set, names)| is_set.then_some(names)).collect()
}
