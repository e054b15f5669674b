//! EnvoyProxy `telemetry.metrics`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{backend_traffic_policy::Compression, telemetry::TelemetryHeader};
use crate::{refs::BackendRef, unsupported::Unsupported};

/// Metrics of proxies.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyMetrics {
    /// The endpoint for Prometheus.
    pub prometheus: Option<ProxyPrometheus>,
    /// Receivers.
    pub sinks: Vec<ProxyMetricSink>,
    /// Choice among Envoy's own metrics.
    pub matches: Option<Unsupported>,
    /// Further metrics of Envoy's.
    pub enable_virtual_host_stats: bool,
    /// Further metrics of Envoy's.
    pub enable_per_endpoint_stats: bool,
    /// Further metrics of Envoy's.
    pub enable_request_response_sizes_stats: bool,
    /// Further metrics of Envoy's.
    #[serde(rename = "enableGRPCStats")]
    pub enable_grpc_stats: bool,
    /// Names of clusters in Envoy's metrics.
    pub cluster_stat_name: Option<Unsupported>,
}

/// The endpoint for Prometheus.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProxyPrometheus {
    /// It shows none.
    pub disable: bool,
    /// Compression of its answers.
    pub compression: Option<Compression>,
}

/// A receiver.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyMetricSink {
    /// `OpenTelemetry`.
    #[serde(rename = "type")]
    pub kind: ProxyMetricSinkType,
    /// A collector of OpenTelemetry.
    #[serde(default)]
    pub open_telemetry: Option<OpenTelemetryMetricSink>,
}

/// Kind of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ProxyMetricSinkType {
    /// A collector of OpenTelemetry.
    OpenTelemetry,
}

/// A collector of OpenTelemetry.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTelemetryMetricSink {
    /// Services and Backends.
    pub backend_refs: Vec<BackendRef>,
    /// Settings of connections to it.
    pub backend_settings: Option<Unsupported>,
    /// Its host (deprecated in favour of `backendRefs`).
    pub host: Option<Unsupported>,
    /// Its port, which the CustomResourceDefinition fills in.
    pub port: Option<i32>,
    /// Counters are told since the last time.
    pub report_counters_as_deltas: bool,
    /// Histograms are told since the last time.
    pub report_histograms_as_deltas: bool,
    /// Headers of requests to it.
    pub headers: Vec<TelemetryHeader>,
    /// Attributes of the gateway.
    pub resource_attributes: BTreeMap<String, String>,
}

impl ProxyMetrics {
    /// Its receivers' backends.
    pub fn backend_refs(&self) -> impl Iterator<Item = &BackendRef> {
        self.sinks.iter().filter_map(|sink| sink.open_telemetry.as_ref()).flat_map(|otel| &otel.backend_refs)
    }

    /// Whether a receiver has a field that `is_set` finds.
    pub(crate) fn any_sink(&self, is_set: impl Fn(&OpenTelemetryMetricSink) -> bool) -> bool {
        self.sinks.iter().filter_map(|sink| sink.open_telemetry.as_ref()).any(is_set)
    }
}
