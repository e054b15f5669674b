//! EnvoyProxy `telemetry`, and BackendTrafficPolicy `telemetry`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{access_log::ProxyAccessLog, proxy_metrics::ProxyMetrics};
use crate::{http_filter::Fraction, refs::BackendRef, unsupported::Unsupported};

/// Logs, metrics and traces of proxies.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyTelemetry {
    /// The access log.
    pub access_log: Option<ProxyAccessLog>,
    /// Metrics.
    pub metrics: Option<ProxyMetrics>,
    /// Request ids as parts of traces.
    #[serde(rename = "requestID")]
    pub request_id: Option<Unsupported>,
    /// Traces.
    pub tracing: Option<ProxyTracing>,
}

/// Traces.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyTracing {
    /// Part of the requests without a parent that is kept, in per cent; 100 when absent.
    #[serde(default)]
    pub sampling_rate: Option<u32>,
    /// The same as a fraction.
    #[serde(default)]
    pub sampling_fraction: Option<Fraction>,
    /// Part that is kept of the requests without a parent whose clients force it by `x-client-trace-id`.
    #[serde(default)]
    pub client_sampling_fraction: Option<Fraction>,
    /// Part of all that is kept at most.
    #[serde(default)]
    pub overall_sampling_fraction: Option<Fraction>,
    /// Further attributes (deprecated in favour of `tags`).
    #[serde(default)]
    pub custom_tags: BTreeMap<String, CustomTag>,
    /// Further attributes: texts with command operators. They take the place of `customTags` of the same name.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Names of spans.
    #[serde(default)]
    pub span_name: Option<TracingSpanName>,
    /// Receiver of spans.
    pub provider: TracingProvider,
}

/// A further attribute of spans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomTag {
    /// Source of its value.
    #[serde(rename = "type")]
    pub kind: CustomTagType,
    /// The value, of type `Literal`.
    pub literal: Option<LiteralTag>,
    /// A variable of the proxy, of type `Environment`.
    pub environment: Option<NamedTag>,
    /// A header, of type `RequestHeader`.
    pub request_header: Option<NamedTag>,
}

/// Source of an attribute's value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum CustomTagType {
    /// The configuration.
    #[default]
    Literal,
    /// The proxy's environment.
    Environment,
    /// The request.
    RequestHeader,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LiteralTag {
    /// Itself.
    pub value: String,
}

/// A variable or a header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedTag {
    /// Its name.
    pub name: String,
    /// The value where it is absent; without, there is no attribute.
    #[serde(default)]
    pub default_value: Option<String>,
}

/// Names of spans: texts with command operators. An empty one leaves the gateway's own name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TracingSpanName {
    /// Of the request as the client sent it.
    pub client: String,
    /// Of attempts at backends.
    pub server: String,
}

/// Receiver of spans.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingProvider {
    /// `OpenTelemetry`, the default; `Zipkin` or `Datadog`, which have no meaning here.
    #[serde(rename = "type", default = "open_telemetry")]
    pub kind: String,
    /// Host of the receiver (deprecated in favour of `backendRefs`).
    #[serde(default)]
    pub host: Option<Unsupported>,
    /// Its port.
    #[serde(default)]
    pub port: Option<Unsupported>,
    /// Services and Backends of the receiver.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    /// Settings of connections to it.
    #[serde(default)]
    pub backend_settings: Option<Unsupported>,
    /// Name of the service; `NAME.NAMESPACE` of the Gateway when absent.
    #[serde(default)]
    pub service_name: Option<String>,
    /// Settings of Zipkin.
    #[serde(default)]
    pub zipkin: Option<Unsupported>,
    /// Settings of OpenTelemetry.
    #[serde(default)]
    pub open_telemetry: Option<OpenTelemetryTracing>,
}

fn open_telemetry() -> String {
    "OpenTelemetry".to_owned()
}

/// Settings of OpenTelemetry.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTelemetryTracing {
    /// Headers of requests to the receiver.
    pub headers: Vec<TelemetryHeader>,
    /// Attributes of the gateway.
    pub resource_attributes: BTreeMap<String, String>,
    /// Decision which requests are kept; takes the place of `samplingRate` and `samplingFraction`.
    pub sampler: Option<TracingSampler>,
}

/// A header of requests to the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TelemetryHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A sampler of OpenTelemetry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingSampler {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: TracingSamplerType,
    /// Part that is kept by `TraceIdRatio`; all when absent.
    #[serde(default)]
    pub sampling_percentage: Option<Fraction>,
}

/// Kind of a sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TracingSamplerType {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// A part.
    TraceIdRatio,
    /// As the parent; all without one.
    ParentBasedAlwaysOn,
    /// As the parent; none without one.
    ParentBasedAlwaysOff,
    /// As the parent; a part without one.
    ParentBasedTraceIdRatio,
}

/// BackendTrafficPolicy `telemetry`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BackendTelemetry {
    /// Traces of the requests that the policy is for.
    pub tracing: Option<BackendTracing>,
    /// Names of metrics.
    pub metrics: Option<Unsupported>,
}

/// Traces of the requests that a policy is for. What is absent is as the EnvoyProxy has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTracing {
    /// Part of the requests without a parent that is kept.
    pub sampling_fraction: Option<Fraction>,
    /// Part that is kept of the requests without a parent whose clients force it by `x-client-trace-id`.
    pub client_sampling_fraction: Option<Fraction>,
    /// Part of all that is kept at most.
    pub overall_sampling_fraction: Option<Fraction>,
    /// Further attributes (deprecated in favour of `tags`).
    pub custom_tags: BTreeMap<String, CustomTag>,
    /// Further attributes: texts with command operators. They take the place of `customTags` of the same name.
    pub tags: BTreeMap<String, String>,
    /// Names of spans.
    pub span_name: Option<TracingSpanName>,
}
