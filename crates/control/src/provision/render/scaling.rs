//! How many proxies a data plane has: what counts them, and what keeps them from going all at once.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        autoscaling::v2::{CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec},
        core::v1::ResourceRequirements,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector},
};

use super::{
    super::{Options, plan::Plan},
    metadata, selector,
};

/// CPU request of a proxy if parameters ask for an autoscaler and name no request for it to measure against.
const CPU: &str = "100m";

/// The HorizontalPodAutoscaler that parameters ask for.
pub(super) fn autoscaler(plan: &Plan, options: &Options) -> Option<HorizontalPodAutoscaler> {
    let requested = plan.parameters.provider.kubernetes.envoy_hpa.as_ref()?;
    let spec = HorizontalPodAutoscalerSpec {
        min_replicas: requested.min_replicas,
        max_replicas: requested.max_replicas,
        metrics: (!requested.metrics.is_empty()).then(|| requested.metrics.clone()),
        behavior: requested.behavior.clone(),
        scale_target_ref: CrossVersionObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: "Deployment".to_owned(),
            name: plan.object_name.1.clone(),
        },
    };
    Some(HorizontalPodAutoscaler { metadata: metadata(plan, options), spec, status: None })
}

/// The PodDisruptionBudget that parameters ask for.
pub(super) fn disruption_budget(plan: &Plan, options: &Options) -> Option<PodDisruptionBudget> {
    let requested = plan.parameters.provider.kubernetes.envoy_pdb.as_ref()?;
    let spec = PodDisruptionBudgetSpec {
        min_available: requested.min_available.clone(),
        max_unavailable: requested.max_unavailable.clone(),
        selector: Some(LabelSelector { match_labels: Some(selector(plan)), match_expressions: None }),
        unhealthy_pod_eviction_policy: None,
    };
    Some(PodDisruptionBudget { metadata: metadata(plan, options), spec: Some(spec), status: None })
}

/// Requests and limits of the proxies' container.
pub(super) fn resources(plan: &Plan) -> Option<ResourceRequirements> {
    let kubernetes = &plan.parameters.provider.kubernetes;
    let requested = kubernetes.envoy_deployment.container.resources.clone();
    // Without metrics of its own an autoscaler goes by the share of the CPU request.
    if kubernetes.envoy_hpa.as_ref().is_none_or(|it| !it.metrics.is_empty()) {
        return requested;
    }
    let mut resources = requested.unwrap_or_default();
    let limit = resources.limits.iter().flatten().find_map(|(name, limit)| (name == "cpu").then(|| limit.clone()));
    let requests: &mut BTreeMap<_, _> = resources.requests.get_or_insert_default();
    requests.entry("cpu".to_owned()).or_insert_with(|| limit.unwrap_or_else(|| Quantity(CPU.to_owned())));
    Some(resources)
}
