//! `backendSettings` beside the `backendRefs` of a policy: how the gateway treats the servers that the policy names.

use serde::Deserialize;

use super::backend_connection::BackendConnection;
use super::backend_traffic_policy::{BackendProxyProtocol, BackendTimeout, BackendTrafficPolicySpec};
use super::circuit_breaker::CircuitBreaker;
use super::client_traffic_policy::TcpKeepalive;
use super::dns::DnsSettings;
use super::health_check::HealthCheck;
use super::http2::Http2Settings;
use super::load_balancer::LoadBalancer;
use super::retry::Retry;

/// Settings of connections to servers. The fields are BackendTrafficPolicy's.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendSettings {
    /// How an endpoint is chosen.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// Endpoints that are used at all.
    #[serde(default)]
    pub health_check: Option<HealthCheck>,
    /// Keepalive of connections.
    #[serde(default)]
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// PROXY protocol.
    #[serde(default)]
    pub proxy_protocol: Option<BackendProxyProtocol>,
    /// Timeouts.
    #[serde(default)]
    pub timeout: Option<BackendTimeout>,
    /// When a request is tried again.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// Limits of concurrency.
    #[serde(default)]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Buffers and connections made ahead.
    #[serde(default)]
    pub connection: Option<BackendConnection>,
    /// HTTP/2.
    #[serde(default)]
    pub http2: Option<Http2Settings>,
    /// Name resolution.
    #[serde(default)]
    pub dns: Option<DnsSettings>,
}

impl BackendSettings {
    /// The settings that the gateway acts on, as a BackendTrafficPolicy has them.
    pub fn traffic(&self) -> BackendTrafficPolicySpec {
        BackendTrafficPolicySpec {
            load_balancer: self.load_balancer.clone(),
            health_check: self.health_check.clone(),
            tcp_keepalive: self.tcp_keepalive,
            proxy_protocol: self.proxy_protocol,
            timeout: self.timeout,
            http2: self.http2.clone(),
            dns: self.dns,
            connection: self.connection,
            ..BackendTrafficPolicySpec::default()
        }
    }

    /// Whether it has a field that the gateway does not act on.
    pub fn is_unsupported(&self) -> bool {
        self.retry.is_some()
            || self.circuit_breaker.is_some()
            || self.connection.is_some_and(|it| it.buffer_limit.is_some() || it.predicts())
            || self.timeout.as_ref().is_some_and(|timeout| timeout.http.is_some())
    }
}
