//! Envoy Gateway's resources (`gateway.envoyproxy.io/v1alpha1`).

pub mod access_log;
pub mod admission_control;
pub mod api_key_auth;
pub mod authorization;
pub mod backend;
pub mod backend_connection;
pub mod backend_settings;
pub mod backend_traffic_policy;
pub mod bandwidth_limit;
pub mod basic_auth;
pub mod body;
pub mod circuit_breaker;
pub mod client_headers;
pub mod client_traffic_policy;
pub mod csrf;
pub mod dns;
pub mod envoy_gateway;
pub mod envoy_proxy;
pub mod ext_auth;
pub mod ext_proc;
pub mod fault;
pub mod health_check;
pub mod http2;
pub mod http_route_filter;
pub mod http_upgrade;
pub mod jwt;
pub mod load_balancer;
pub mod merge;
pub mod oidc;
pub mod proxy_metrics;
pub mod rate_limit;
pub mod recognised;
pub mod response_override;
pub mod retry;
pub mod security_policy;
pub mod string_match;
pub mod telemetry;
pub mod tls;

/// Envoy Gateway's group.
pub const ENVOY_GROUP: &str = "gateway.envoyproxy.io";
