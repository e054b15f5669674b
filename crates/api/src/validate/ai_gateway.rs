//! Envoy AI Gateway's kinds.

use super::Check;
use crate::ai_gateway::{
    gateway_config::GatewayConfigSpec,
    llm_request_cost::{LlmRequestCost, LlmRequestCostType},
};

pub(super) fn config(check: &mut Check, spec: &GatewayConfigSpec) {
    check.count("globalLLMRequestCosts", spec.global_llm_request_costs.len(), 0..=36);
    check.each("globalLLMRequestCosts", &spec.global_llm_request_costs, cost);
}

fn cost(check: &mut Check, cost: &LlmRequestCost) {
    check.length("metadataKey", &cost.metadata_key, 1..=256);
    if cost.kind == LlmRequestCostType::Cel && cost.cel.as_ref().is_none_or(|cel| cel.trim().is_empty()) {
        check.fail_at("cel", "type CEL needs an expression");
    }
}
