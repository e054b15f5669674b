//! Endpoints that are used.

use serde::Deserialize;

use crate::duration::Duration;
use crate::port::PortNumber;
use crate::unsupported::Unsupported;

/// Endpoints that are used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Probes.
    #[serde(default)]
    pub active: Option<ActiveHealthCheck>,
    /// Ejection of endpoints that fail requests.
    #[serde(default)]
    pub passive: Option<PassiveHealthCheck>,
    /// With a smaller share of healthy endpoints, in percent, all are used; 50 when absent.
    #[serde(default)]
    pub panic_threshold: Option<u32>,
}

/// Probes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveHealthCheck {
    /// How long a probe may take; 1s by default.
    #[serde(default = "one_second")]
    pub timeout: Duration,
    /// Time between probes; 3s by default.
    #[serde(default = "three_seconds")]
    pub interval: Duration,
    /// The most that the first probe is put off.
    #[serde(default)]
    pub initial_jitter: Option<Duration>,
    /// Failures until an endpoint is unhealthy; 3 by default.
    #[serde(default = "three")]
    pub unhealthy_threshold: u32,
    /// Successes until it is healthy again; 1 by default.
    #[serde(default = "one")]
    pub healthy_threshold: u32,
    /// Type of a probe.
    #[serde(rename = "type")]
    pub kind: ActiveHealthCheckType,
    /// The request, when the type is `HTTP`.
    #[serde(default)]
    pub http: Option<HttpHealthCheck>,
    /// The bytes, when the type is `TCP`.
    #[serde(default)]
    pub tcp: Option<TcpHealthCheck>,
    /// The service, when the type is `GRPC`.
    #[serde(default)]
    pub grpc: Option<GrpcHealthCheck>,
    /// Differences from the endpoint's own settings.
    #[serde(default)]
    pub overrides: Option<HealthCheckOverrides>,
    /// A log of probes.
    #[serde(default)]
    pub health_check_log: Option<Unsupported>,
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn three_seconds() -> Duration {
    Duration::from_secs(3)
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

/// Type of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ActiveHealthCheckType {
    /// A request.
    #[serde(rename = "HTTP")]
    Http,
    /// A connection.
    #[serde(rename = "TCP")]
    Tcp,
    /// A call of `grpc.health.v1.Health`.
    #[serde(rename = "GRPC")]
    Grpc,
}

/// A probe by request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpHealthCheck {
    /// Host of the probe; the backend's when absent.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Path of the probe.
    pub path: String,
    /// Method of the probe; `GET` when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Statuses that mean health; 200 when empty.
    #[serde(default)]
    pub expected_statuses: Vec<u16>,
    /// Statuses that count as failures only up to the threshold.
    #[serde(default)]
    pub retriable_statuses: Vec<u16>,
    /// Text that the response's body must contain.
    #[serde(default)]
    pub expected_response: Option<HealthCheckPayload>,
    /// The probe's body, with POST and PUT.
    #[serde(default)]
    pub request_body: Option<HealthCheckPayload>,
}

/// A probe by connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct TcpHealthCheck {
    /// Bytes to send.
    #[serde(default)]
    pub send: Option<HealthCheckPayload>,
    /// Bytes that must come back.
    #[serde(default)]
    pub receive: Option<HealthCheckPayload>,
}

/// Bytes of a probe: `text` or `binary`, as the type says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HealthCheckPayload {
    /// The one of the two.
    #[serde(rename = "type")]
    pub kind: HealthCheckPayloadType,
    /// As text.
    #[serde(default)]
    pub text: Option<String>,
    /// As base64.
    #[serde(default)]
    pub binary: Option<String>,
}

/// How a probe's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum HealthCheckPayloadType {
    /// As text.
    Text,
    /// As base64.
    Binary,
}

/// A probe by gRPC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GrpcHealthCheck {
    /// The service to check; the whole server when absent.
    #[serde(default)]
    pub service: Option<String>,
}

/// Differences from the endpoint's own settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct HealthCheckOverrides {
    /// Another port.
    #[serde(default)]
    pub port: Option<PortNumber>,
}

/// Ejection of endpoints that fail requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassiveHealthCheck {
    /// Whether failures to connect are counted apart from statuses; false by default.
    #[serde(default)]
    pub split_external_local_origin_errors: bool,
    /// Time between decisions; 3s by default.
    #[serde(default = "three_seconds")]
    pub interval: Duration,
    /// Failures to connect in a row; 5 by default, used when they are counted apart.
    #[serde(default = "five")]
    pub consecutive_local_origin_failures: u32,
    /// 502, 503 and 504 in a row.
    #[serde(default)]
    pub consecutive_gateway_errors: Option<u32>,
    /// Statuses of 500 and above in a row; 5 by default.
    #[serde(rename = "consecutive5XxErrors", default = "five")]
    pub consecutive_5xx_errors: u32,
    /// How long an ejection lasts, times their number; 30s by default.
    #[serde(default = "thirty_seconds")]
    pub base_ejection_time: Duration,
    /// Never more of the endpoints than this are ejected; 10 by default.
    #[serde(default = "ten")]
    pub max_ejection_percent: u32,
    /// Failures in percent.
    #[serde(default)]
    pub failure_percentage_threshold: Option<u32>,
    /// Whether one is ejected even past the percentage; false by default.
    #[serde(default)]
    pub always_eject_one_endpoint: bool,
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

fn five() -> u32 {
    5
}

fn ten() -> u32 {
    10
}
