//! Requests that wait, under the names that the gateway has for them.

use std::{fmt, sync::Arc};

use pailou_picker::{QueueLevel, QueueOutcome, QueueReport};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// The queue, as it was when it was last asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueCollector(Arc<Mutex<QueueReport>>);

impl QueueCollector {
    /// It is this now.
    pub(super) fn set(&self, report: Option<QueueReport>) {
        *self.0.lock() = report.unwrap_or_default();
    }
}

type Read = fn(&QueueLevel) -> f64;

const LEVELS: [(&str, &str, Read); 4] = [
    ("pailou_queue_requests", "Requests that wait for an endpoint with room", |level| level.requests.into()),
    ("pailou_queue_bytes", "Bytes of the bodies of requests that wait", |level| level.bytes as f64),
    ("pailou_queue_flows", "Fairness ids among the requests that wait", |level| level.flows as f64),
    ("pailou_queue_oldest_wait_seconds", "How long the oldest request has waited", |level| level.oldest_wait.as_secs_f64()),
];

impl Collector for QueueCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let report = self.0.lock().clone();
        for (name, help, read) in LEVELS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for level in &report.levels {
                let labels = [("priority", level.priority.to_string())];
                ConstGauge::new(read(level)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let named = |priority: &Option<i32>| priority.map_or_else(|| "other".to_owned(), |priority| priority.to_string());
        let help = "Requests that waited, or were refused instead, by what became of them";
        let mut metric = encoder.encode_descriptor("pailou_queue_outcomes", help, None, MetricType::Counter)?;
        for (priority, counts) in &report.counts {
            for (outcome, count) in QueueOutcome::ALL.iter().zip(counts.outcomes) {
                let labels = [("priority", named(priority)), ("outcome", outcome.name().to_owned())];
                ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Seconds that requests waited before they were sent to an endpoint";
        let mut metric = encoder.encode_descriptor("pailou_queue_wait_seconds", help, None, MetricType::Histogram)?;
        for (priority, counts) in &report.counts {
            let buckets = counts.buckets();
            let labels = [("priority", named(priority))];
            let count = counts.waits.iter().sum();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(counts.wait_seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}
