//! GatewayConfig.

use serde::Deserialize;

use super::llm_request_cost::LlmRequestCost;
use crate::{
    meta::Resource,
    unsupported::{Unsupported, unsupported_fields},
};

/// `aigateway.envoyproxy.io/v1beta1` and `v1alpha1` GatewayConfig: settings of a Gateway for calls of models.
pub type GatewayConfig = Resource<GatewayConfigSpec>;

/// Annotation of a Gateway: its GatewayConfig, of the same namespace.
pub const GATEWAY_CONFIG_ANNOTATION: &str = "aigateway.envoyproxy.io/gateway-config";
/// Annotation of a Gateway: ConfigMaps of its namespace with prices of models, separated by commas. The first that has a model counts.
pub const MODEL_PRICES_ANNOTATION: &str = "pailou.dev/model-prices";

/// `spec` of a GatewayConfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayConfigSpec {
    /// Settings of Envoy AI Gateway's sidecar.
    #[serde(default)]
    pub ext_proc: Option<Unsupported>,
    /// Costs of responses for limits, at most 36.
    #[serde(default, rename = "globalLLMRequestCosts")]
    pub global_llm_request_costs: Vec<LlmRequestCost>,
    /// Proxy by which backends are reached.
    #[serde(default)]
    pub forward_proxy: Option<Unsupported>,
}

unsupported_fields!(GatewayConfigSpec,
    "extProc (there is no sidecar)" => |spec| spec.ext_proc.is_some(),
    "forwardProxy (backends are connected to directly)" => |spec| spec.forward_proxy.is_some(),
    "globalLLMRequestCosts[].cel of a type other than CEL" => |spec| {
        spec.global_llm_request_costs.iter().any(LlmRequestCost::has_idle_expression)
    },
);
