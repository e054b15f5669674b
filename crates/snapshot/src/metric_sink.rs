//! Metrics for collectors, on a timer.

use std::time::Duration;

use pailou_telemetry::{export::Resource, metric_export::Temporality};

use super::Collector;

/// A collector of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSink {
    /// The gateway, as metrics name their process.
    pub resource: Resource,
    /// Its place.
    pub collector: Collector,
    /// Whether values are told since the beginning or since the last time.
    pub temporality: Temporality,
    /// Pause between two exports.
    pub interval: Duration,
    /// Time for one.
    pub timeout: Duration,
}

impl MetricSink {
    /// OpenTelemetry's pause between two exports.
    pub const INTERVAL: Duration = Duration::from_secs(60);
    /// OpenTelemetry's time for one.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
}
