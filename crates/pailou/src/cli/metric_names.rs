//! The flag `--metric-names`.

use pailou_picker::MetricNames;

/// A set of names of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MetricNameSet {
    /// inference_pool_*: pools, as Gateway API Inference Extension up to v1.5.
    InferencePool,
    /// inference_objective_*: model calls, as Gateway API Inference Extension up to v1.5.
    InferenceObjective,
    /// inference_extension_*: the picker, as Gateway API Inference Extension up to v1.5.
    InferenceExtension,
    /// llm_d_epp_*: pools and model calls, as llm-d's router.
    LlmD,
    /// http_*: requests and attempts at backends, as OpenTelemetry's conventions for HTTP.
    Http,
    /// envoy_*: requests, attempts and endpoints, as the dashboards of Envoy Gateway read them.
    EnvoyGateway,
    /// gen_ai_client_operation_duration: model calls, as Alibaba Cloud's Container Service for Kubernetes has them.
    Ack,
}

impl MetricNameSet {
    /// All of these sets.
    pub(crate) fn all(sets: &[Self]) -> MetricNames {
        MetricNames {
            inference_pool: sets.contains(&Self::InferencePool),
            inference_objective: sets.contains(&Self::InferenceObjective),
            inference_extension: sets.contains(&Self::InferenceExtension),
            llm_d: sets.contains(&Self::LlmD),
            http: sets.contains(&Self::Http),
            envoy_gateway: sets.contains(&Self::EnvoyGateway),
            ack: sets.contains(&Self::Ack),
        }
    }
}
