//! Requests that wait in the queues of pools.

use std::fmt;

use pailou_picker::{QueueLevel, QueueOutcome, QueueReport};
use prometheus_client::encoding::DescriptorEncoder;

use crate::{
    metrics::table::{Sum, counters, gauges, histograms},
    runtime::Runtime,
};

type Read = fn(&QueueLevel) -> f64;

const LEVELS: [(&str, &str, Read); 4] = [
    ("pailou_queue_requests", "Requests that wait for an endpoint with room", |level| level.requests.into()),
    ("pailou_queue_bytes", "Bytes of the bodies of requests that wait", |level| level.bytes as f64),
    ("pailou_queue_flows", "Fairness ids among the requests that wait", |level| level.flows as f64),
    ("pailou_queue_oldest_wait_seconds", "How long the oldest request has waited", |level| level.oldest_wait.as_secs_f64()),
];

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
    for (name, help, read) in LEVELS {
        let rows = all.iter().map(|(pool, priority, level)| ([("backend", pool.as_str()), ("priority", priority)], read(level)));
        gauges(encoder, name, help, rows)?;
    }
    Ok(())
}

fn counts(encoder: &mut DescriptorEncoder<'_>, queues: &[PoolQueue]) -> fmt::Result {
    let named = |priority: Option<i32>| priority.map_or_else(|| "other".to_owned(), |priority| priority.to_string());
    let all = queues.iter().flat_map(|(pool, queue)| queue.counts.iter().map(move |(priority, counts)| (pool, *priority, counts)));
    let all: Vec<_> = all.map(|(pool, priority, counts)| (pool.as_str(), named(priority), counts)).collect();
    let outcomes = all.iter().flat_map(|(pool, priority, counts)| {
        let each = QueueOutcome::ALL.iter().zip(counts.outcomes);
        each.map(move |(outcome, count)| {
            ([("backend", *pool), ("priority", priority.as_str()), ("outcome", outcome.name())], count)
        })
    });
    counters(encoder, "pailou_queue_outcomes", "Requests that waited, or were refused instead, by what became of them", outcomes)?;
    let waits = all.iter().map(|(pool, priority, counts)| {
        let buckets = counts.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        ([("backend", *pool), ("priority", priority.as_str())], Sum { seconds: counts.wait_seconds, count, buckets })
    });
    histograms(encoder, "pailou_queue_wait_seconds", "Seconds that requests waited before they were sent to an endpoint", waits)
}
