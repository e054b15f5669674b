//! Requests that wait in the queues of pools.

use std::fmt;

use pailou_picker::{QUEUE_GAUGES, QUEUE_OUTCOMES, QUEUE_WAITS, QueueOutcome, QueueReport, priority_label};
use pailou_telemetry::metric_table::{counters, gauges, histograms};
use prometheus_client::encoding::DescriptorEncoder;

use crate::runtime::Runtime;

/// A pool with its queue.
type PoolQueue = (String, QueueReport);

/// Writes the series of every pool whose requests wait.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, runtime: &Runtime) -> fmt::Result {
    let queues: Vec<PoolQueue> = runtime.pools().filter_map(|(key, pool)| Some((key.to_string(), pool.queue()?))).collect();
    if queues.is_empty() {
        return Ok(());
    }
    levels(encoder, &queues)?;
    counts(encoder, &queues)
}

fn levels(encoder: &mut DescriptorEncoder<'_>, queues: &[PoolQueue]) -> fmt::Result {
    let all =
        queues.iter().flat_map(|(pool, queue)| queue.levels.iter().map(move |level| (pool, level.priority.to_string(), level)));
    let all: Vec<_> = all.collect();
    for (name, help, read) in QUEUE_GAUGES {
        let rows = all.iter().map(|(pool, priority, level)| ([("backend", pool.as_str()), ("priority", priority)], read(level)));
        gauges(encoder, name, help, rows)?;
    }
    Ok(())
}

fn counts(encoder: &mut DescriptorEncoder<'_>, queues: &[PoolQueue]) -> fmt::Result {
    let all = queues.iter().flat_map(|(pool, queue)| queue.counts.iter().map(move |(priority, counts)| (pool, *priority, counts)));
    let all: Vec<_> = all.map(|(pool, priority, counts)| (pool.as_str(), priority_label(priority), counts)).collect();
    let outcomes = all.iter().flat_map(|(pool, priority, counts)| {
        let each = QueueOutcome::ALL.iter().zip(counts.outcomes);
        each.map(move |(outcome, count)| {
            ([("backend", *pool), ("priority", priority.as_str()), ("outcome", outcome.name())], count)
        })
    });
    counters(encoder, QUEUE_OUTCOMES.0, QUEUE_OUTCOMES.1, outcomes)?;
    let waits =
        all.iter().map(|(pool, priority, counts)| ([("backend", *pool), ("priority", priority.as_str())], counts.distribution()));
    histograms(encoder, QUEUE_WAITS.0, QUEUE_WAITS.1, waits)
}
