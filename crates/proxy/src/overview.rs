//! A gateway as a whole, for a page: sums of the counters that metrics have, and its pools as they are now.

use std::collections::BTreeSet;

use pailou_picker::{EndpointReport, PoolReport};
use pailou_snapshot::{ListenerRef, ValueMatch};
use pailou_telemetry::metric_table::Distribution;

use crate::{
    context::Context,
    endpoint_health::{self, EndpointHealth, EndpointLabels},
    error::{Cause, Flag},
    metrics::{ModelTotals, RequestTotals},
};

/// A gateway at one time. Counts are since the start.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Requests under way.
    pub active: u64,
    /// Requests that no rule answered.
    pub unrouted: u64,
    /// Requests that a rule answered.
    pub requests: RequestTotals,
    /// Time of the gateway itself for requests.
    pub overhead: Distribution,
    /// Requests and connections refused or broken off, by flag; flags that were never counted are not there.
    pub flags: Vec<(Flag, u64)>,
    /// The same by cause, and statuses of 400 and above that have no flag: a backend's own, or a filter's.
    pub faults: [(Cause, u64); Cause::ALL.len()],
    /// Calls of models.
    pub models: ModelTotals,
    /// Its InferencePools, by name.
    pub pools: Vec<PoolOverview>,
    /// Routing receipts that were kept, and those that were not made since they were too many.
    pub receipts: (u64, u64),
}

/// An InferencePool.
#[derive(Clone, Debug)]
pub struct PoolOverview {
    /// As metrics name it, such as `pool/default/qwen`.
    pub backend: String,
    /// Its figures, without those of the endpoints.
    pub report: PoolReport,
    /// Its endpoints with their health.
    pub endpoints: Vec<(EndpointReport, EndpointHealth)>,
}

/// Reads the state of all workers.
pub(crate) fn of(context: &Context, most_models: usize) -> Overview {
    let metrics = &context.metrics;
    Overview {
        active: metrics.active.get().try_into().unwrap_or(0),
        unrouted: metrics.unrouted(),
        requests: metrics.request_totals(),
        overhead: metrics.overhead(),
        flags: metrics.flagged(),
        faults: metrics.faults(),
        models: metrics.model_totals(most_models),
        pools: pools(context),
        receipts: (context.receipts.kept.get(), context.receipts.dropped.get()),
    }
}

/// Names of models that routes lead by, and that engines of pools serve: at most so many.
pub(crate) fn model_names(context: &Context, most: usize) -> BTreeSet<String> {
    let Some(runtime) = context.runtime.load_full() else { return BTreeSet::new() };
    let served = runtime.pools().flat_map(|(_, pool)| pool.served_models()).map(String::from);
    let listeners: Vec<_> = runtime.snapshot().ports.iter().flat_map(|port| port.listeners()).collect();
    let tables = listeners.iter().filter_map(|listener| match listener {
        ListenerRef::Http(listener) => Some(&listener.routes),
        ListenerRef::Connections(_) => None,
    });
    let matched = tables.flat_map(|table| table.hosts()).flat_map(|(_, entries)| entries).filter_map(|entry| {
        match &entry.conditions.as_ref()?.model {
            Some(ValueMatch::Exact(model)) => Some(model.to_string()),
            _ => None,
        }
    });
    let mut names = BTreeSet::new();
    for name in matched.chain(served) {
        if names.len() == most {
            break;
        }
        names.insert(name);
    }
    names
}

fn pools(context: &Context) -> Vec<PoolOverview> {
    let Some(runtime) = context.runtime.load_full() else { return Vec::new() };
    let mut health = endpoint_health::of_pools(&runtime);
    let pools = runtime.pools().map(|(key, pool)| {
        let backend = key.to_string();
        let mut report = pool.report();
        let with_health = |endpoint: EndpointReport| {
            let health = health.remove(&EndpointLabels::new(&backend, &endpoint.endpoint)).unwrap_or_default();
            (endpoint, health)
        };
        let endpoints = std::mem::take(&mut report.endpoints).into_iter().map(with_health).collect();
        PoolOverview { backend, report, endpoints }
    });
    let mut pools: Vec<_> = pools.collect();
    pools.sort_by(|one, other| one.backend.cmp(&other.backend));
    pools
}
