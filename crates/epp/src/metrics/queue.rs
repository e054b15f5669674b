//! Requests that wait, under the names that the gateway has for them.

use std::{fmt, sync::Arc};

use pailou_picker::{QUEUE_GAUGES, QUEUE_OUTCOMES, QUEUE_WAITS, QueueOutcome, QueueReport, priority_label};
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

impl Collector for QueueCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let report = self.0.lock().clone();
        for (name, help, read) in QUEUE_GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for level in &report.levels {
                let labels = [("priority", level.priority.to_string())];
                ConstGauge::new(read(level)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let (name, help) = QUEUE_OUTCOMES;
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (priority, counts) in &report.counts {
            for (outcome, count) in QueueOutcome::ALL.iter().zip(counts.outcomes) {
                let labels = [("priority", priority_label(*priority)), ("outcome", outcome.name().to_owned())];
                ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        let (name, help) = QUEUE_WAITS;
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (priority, counts) in &report.counts {
            let buckets = counts.buckets();
            let labels = [("priority", priority_label(*priority))];
            let count = counts.waits.iter().sum();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(counts.wait_seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}
