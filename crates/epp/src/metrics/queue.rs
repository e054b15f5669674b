//! Requests that wait, under the names that the gateway has for them.

use std::{fmt, sync::Arc};

use pailou_picker::{QUEUE_GAUGES, QUEUE_OUTCOMES, QUEUE_WAITS, QueueOutcome, QueueReport, priority_label};
use pailou_telemetry::metric_table::{counters, gauges, histograms};
use parking_lot::Mutex;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

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
            let rows = report.levels.iter().map(|level| ([("priority", level.priority.to_string())], read(level)));
            gauges(&mut encoder, name, help, rows)?;
        }
        let outcomes = report.counts.iter().flat_map(|(priority, counts)| {
            let labels = |outcome: &QueueOutcome| [("priority", priority_label(*priority)), ("outcome", outcome.name().to_owned())];
            QueueOutcome::ALL.iter().zip(counts.outcomes).map(move |(outcome, count)| (labels(outcome), count))
        });
        counters(&mut encoder, QUEUE_OUTCOMES.0, QUEUE_OUTCOMES.1, outcomes)?;
        let waits =
            report.counts.iter().map(|(priority, counts)| ([("priority", priority_label(*priority))], counts.distribution()));
        histograms(&mut encoder, QUEUE_WAITS.0, QUEUE_WAITS.1, waits)
    }
}
