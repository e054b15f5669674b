//! BackendTrafficPolicy: how a Gateway or a route treats its backends.

use serde::Deserialize;

use super::admission_control::AdmissionControl;
use super::backend_connection::BackendConnection;
use super::bandwidth_limit::BandwidthLimit;
use super::circuit_breaker::CircuitBreaker;
use super::client_traffic_policy::TcpKeepalive;
use super::dns::DnsSettings;
use super::fault::FaultInjection;
use super::health_check::HealthCheck;
use super::http_upgrade::ProtocolUpgrade;
use super::http2::{Http2Keepalive, Http2Settings};
use super::load_balancer::LoadBalancer;
use super::merge::{MergeType, joined_targets};
use super::rate_limit::RateLimit;
use super::response_override::ResponseOverride;
use super::retry::Retry;
use super::telemetry::{BackendTelemetry, BackendTracing};
use crate::duration::Duration;
use crate::meta::Resource;
use crate::quantity::Quantity;
use crate::refs::{PolicyTargetReference, TargetSelector};
use crate::unsupported::{Unsupported, unsupported_fields};

/// `gateway.envoyproxy.io/v1alpha1` BackendTrafficPolicy.
pub type BackendTrafficPolicy = Resource<BackendTrafficPolicySpec>;

/// `spec` of a BackendTrafficPolicy.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTrafficPolicySpec {
    /// One target (deprecated in favour of `targetRefs`).
    #[serde(default)]
    pub target_ref: Option<PolicyTargetReference>,
    /// Gateways, ListenerSets, routes and their sections.
    #[serde(default)]
    pub target_refs: Vec<PolicyTargetReference>,
    /// Targets by label.
    #[serde(default)]
    pub target_selectors: Vec<TargetSelector>,
    /// How a route's policy joins its Gateway's; absent means the route's alone applies.
    #[serde(default)]
    pub merge_type: Option<MergeType>,
    /// Timeouts.
    #[serde(default)]
    pub timeout: Option<BackendTimeout>,
    /// Limits of concurrency.
    #[serde(default)]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// When a request is tried again; absent means never.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// Endpoints that are used at all.
    #[serde(default)]
    pub health_check: Option<HealthCheck>,
    /// Keepalive of connections to backends.
    #[serde(default)]
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Faults made on purpose.
    #[serde(default)]
    pub fault_injection: Option<FaultInjection>,
    /// Reading a request whole before it is sent on.
    #[serde(default)]
    pub request_buffer: Option<RequestBuffer>,
    /// Responses replaced by others.
    #[serde(default)]
    pub response_override: Vec<ResponseOverride>,
    /// Compression of responses.
    #[serde(default)]
    pub compression: Vec<Compression>,
    /// The same under its newer name; exclusive with `compression`.
    #[serde(default)]
    pub compressor: Vec<Compression>,
    /// Limits of rate.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
    /// PROXY protocol.
    #[serde(default)]
    pub proxy_protocol: Option<BackendProxyProtocol>,
    /// Buffers and connections made ahead.
    #[serde(default)]
    pub connection: Option<BackendConnection>,
    /// HTTP/2 towards backends.
    #[serde(default)]
    pub http2: Option<Http2Settings>,
    /// Name resolution.
    #[serde(default)]
    pub dns: Option<DnsSettings>,
    /// Whether the client's protocol is used for the backend.
    #[serde(default)]
    pub use_client_protocol: Option<bool>,
    /// Protocols that connections may be upgraded to; any when absent, none with `requestBuffer`.
    #[serde(default)]
    pub http_upgrade: Vec<ProtocolUpgrade>,
    /// Tracing and metrics.
    #[serde(default)]
    pub telemetry: Option<BackendTelemetry>,
    /// Endpoints or the Service's address.
    #[serde(default)]
    pub routing_type: Option<Unsupported>,
    /// Refusing when too many fail.
    #[serde(default)]
    pub admission_control: Option<AdmissionControl>,
    /// Bytes in time.
    #[serde(default)]
    pub bandwidth_limit: Option<BandwidthLimit>,
    /// Errors of a policy with limits that did not decode: only its targets are known, and are closed.
    #[serde(skip)]
    pub undecodable: Option<String>,
}

/// PROXY protocol towards backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct BackendProxyProtocol {
    /// Its version.
    pub version: ProxyProtocolVersion,
}

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ProxyProtocolVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

impl BackendTrafficPolicySpec {
    fn keepalive(&self, is_set: impl Fn(&Http2Keepalive) -> bool) -> bool {
        self.http2.as_ref().and_then(|http2| http2.connection_keepalive.as_ref()).is_some_and(is_set)
    }

    /// Traces of the policy's requests.
    pub fn tracing(&self) -> Option<&BackendTracing> {
        self.telemetry.as_ref()?.tracing.as_ref()
    }

    /// `targetRef` and `targetRefs` together, without repetitions.
    pub fn targets(&self) -> Vec<PolicyTargetReference> {
        joined_targets(self.target_ref.as_ref(), &self.target_refs)
    }
}

unsupported_fields!(BackendTrafficPolicySpec,
    "connection.bufferLimit" => |spec| spec.connection.is_some_and(|it| it.buffer_limit.is_some()),
    "connection.preconnect.predictivePercent" => |spec| spec.connection.is_some_and(|it| it.predicts()),
    "http2.onInvalidMessage" => |spec| spec.http2.as_ref().is_some_and(|it| it.on_invalid_message.is_some()),
    "http2.connectionKeepalive.intervalJitter" => |spec| spec.keepalive(|it| it.interval_jitter.is_some()),
    "http2.connectionKeepalive.idleInterval" => |spec| spec.keepalive(|it| it.idle_interval.is_some()),
    "httpUpgrade[] of type CONNECT" => |spec| spec.http_upgrade.iter().any(ProtocolUpgrade::is_connect),
    "telemetry.metrics" => |spec| spec.telemetry.as_ref().is_some_and(|it| it.metrics.is_some()),
    "routingType" => |spec| spec.routing_type.is_some(),
    "loadBalancer.zoneAware" => |spec| spec.load_balancer.as_ref().is_some_and(|it| it.zone_aware.is_some()),
    "loadBalancer.endpointOverride" =>
        |spec| spec.load_balancer.as_ref().is_some_and(|it| it.endpoint_override.is_some()),
    "loadBalancer.backendUtilization" =>
        |spec| spec.load_balancer.as_ref().is_some_and(|it| it.backend_utilization.is_some()),
    "loadBalancer.dynamicModule" => |spec| spec.load_balancer.as_ref().is_some_and(|it| it.dynamic_module.is_some()),
    "healthCheck.active.healthCheckLog" => |spec| spec
        .health_check
        .as_ref()
        .and_then(|it| it.active.as_ref())
        .is_some_and(|active| active.health_check_log.is_some()),
);

/// Timeouts towards backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct BackendTimeout {
    /// Of connections.
    #[serde(default)]
    pub tcp: Option<BackendTcpTimeout>,
    /// Of HTTP.
    #[serde(default)]
    pub http: Option<BackendHttpTimeout>,
}

/// Timeouts of connections to backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTcpTimeout {
    /// For connecting; 10s when absent.
    #[serde(default)]
    pub connect_timeout: Option<Duration>,
}

/// Timeouts of HTTP towards backends; zero switches one off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendHttpTimeout {
    /// For a connection without requests; 1h when absent.
    #[serde(default)]
    pub connection_idle_timeout: Option<Duration>,
    /// How long a connection lives.
    #[serde(default)]
    pub max_connection_duration: Option<Duration>,
    /// How long a request lives, response included.
    #[serde(default)]
    pub max_stream_duration: Option<Duration>,
    /// For the whole response to arrive.
    #[serde(default)]
    pub request_timeout: Option<Duration>,
    /// For a request without activity.
    #[serde(default)]
    pub stream_idle_timeout: Option<Duration>,
}

/// Reading a request whole before it is sent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct RequestBuffer {
    /// Larger requests are refused with 413.
    #[serde(default)]
    pub limit: Option<Quantity>,
}

/// One way to compress responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// The algorithm.
    #[serde(rename = "type")]
    pub kind: CompressionType,
    /// Smaller responses stay as they are; 30 bytes when absent.
    #[serde(default)]
    pub min_content_length: Option<Quantity>,
    /// Has no fields.
    #[serde(default)]
    pub gzip: Option<NoFields>,
    /// Has no fields.
    #[serde(default)]
    pub brotli: Option<NoFields>,
    /// Has no fields.
    #[serde(default)]
    pub zstd: Option<NoFields>,
}

/// An object without fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct NoFields {}

/// A compression algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum CompressionType {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}
