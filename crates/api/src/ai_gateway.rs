//! Envoy AI Gateway's resources (`aigateway.envoyproxy.io`).

pub mod gateway_config;
pub mod llm_request_cost;

/// Envoy AI Gateway's group.
pub const AI_GATEWAY_GROUP: &str = "aigateway.envoyproxy.io";
