//! Figures of what is in force now: endpoints, pools, breakers, bounded memory. Read when asked for, not counted as they change.

mod certificates;
mod envoy;
mod queues;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pailou_picker::{ExactFigure, OBJECTIVES_METRIC, ObjectiveTotals, encode_pools};
use pailou_telemetry::metric_table::{counters, gauges};
use prometheus_client::{collector::Collector as Collect, encoding::DescriptorEncoder};

use crate::{
    breaker::Resource,
    context::Context,
    dns::Dns,
    endpoint_health::{self, EndpointHealth, EndpointLabels},
    export_queue::DropReason,
    runtime::Runtime,
    server::Ports,
};

/// Reads the state in force.
pub(crate) struct Collector {
    context: Arc<Context>,
    dns: Dns,
    ports: Ports,
}

impl Collector {
    pub(crate) fn new(context: Arc<Context>, dns: Dns, ports: Ports) -> Self {
        envoy::note_start();
        Self { context, dns, ports }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collect for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let context = &self.context;
        let plain = [
            ("pailou_request_body_bytes", "Request bodies held, in bytes", context.bodies.used()),
            ("pailou_access_log_dropped_lines", "Access log lines dropped because the writer was too slow", context.log.dropped()),
            (
                "pailou_dns_unrenewed_names",
                "Names whose known addresses stay in use, as DNS gives no answer",
                self.dns.unrenewed() as u64,
            ),
        ];
        of_process(&mut encoder, plain.map(|(name, help, value)| (name, help, value as f64)))?;
        limit_store(&mut encoder, context)?;
        spans(&mut encoder, context)?;
        access_logs(&mut encoder, context)?;
        metric_exports(&mut encoder, context)?;
        limit_service(&mut encoder, context)?;
        let states = context.geo.states();
        if !states.is_empty() {
            let rows = states.iter().map(|(path, is_usable)| ([("path", &**path)], f64::from(u8::from(*is_usable))));
            gauges(&mut encoder, "pailou_geoip_database_up", "1 while a database of the places of addresses can be used", rows)?;
        }
        let Some(runtime) = context.runtime.load_full() else { return Ok(()) };
        certificates::encode(&mut encoder, &runtime)?;
        endpoints(&mut encoder, &runtime)?;
        health(&mut encoder, &runtime)?;
        pools(&mut encoder, &runtime)?;
        exact_prefixes(&mut encoder, &runtime)?;
        queues::encode(&mut encoder, &runtime)?;
        objectives(&mut encoder, &runtime)?;
        let names = context.metrics.names;
        if names.has_pools() {
            encode_pools(&mut encoder, names, runtime.pools().map(|(_, pool)| pool.report()).collect())?;
        }
        if names.envoy_gateway {
            envoy::encode(&mut encoder, context, &runtime, &self.ports)?;
        }
        breakers(&mut encoder, &runtime)
    }
}

/// Gauges of which a process has one series each: name, help, value.
fn of_process<const N: usize>(encoder: &mut DescriptorEncoder<'_>, figures: [(&str, &str, f64); N]) -> fmt::Result {
    for (name, help, value) in figures {
        gauges(encoder, name, help, [([("process", "pailou")], value)])?;
    }
    Ok(())
}

/// The store that limits of all proxies are counted in, if there is one.
fn limit_store(encoder: &mut DescriptorEncoder<'_>, context: &Context) -> fmt::Result {
    let shared = &context.shared_limits;
    if shared.store().is_none() {
        return Ok(());
    }
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
    let stats = shared.stats();
    let figures = [
        ("pailou_rate_limit_store_up", "1 while the store of limits answers", f64::from(u8::from(!shared.is_down()))),
        ("pailou_rate_limit_store_replicas", "Proxies that share limits, with this one", shared.replicas() as f64),
        ("pailou_rate_limit_store_round_trips", "Round trips to the store of limits", read(&stats.round_trips)),
        (
            "pailou_rate_limit_store_failures",
            "Failures of the store of limits: connections refused, answers too late",
            read(&stats.failures),
        ),
        (
            "pailou_rate_limit_store_bypassed",
            "Charges decided without the store of limits, which did not answer in time",
            read(&stats.alone),
        ),
        (
            "pailou_rate_limit_store_refused",
            "Claims on single counters that the store of limits answered with an error",
            read(&stats.refused),
        ),
    ];
    of_process(encoder, figures)
}

/// Spans of traces, if there are any.
fn spans(encoder: &mut DescriptorEncoder<'_>, context: &Context) -> fmt::Result {
    if !context.tracers.is_on() {
        return Ok(());
    }
    let stats = context.tracers.stats();
    let exported = [([("process", "pailou")], stats.exported_total())];
    counters(encoder, "pailou_spans_exported", "Spans that a collector took", exported)?;
    let dropped = DropReason::ALL.map(|reason| ([("reason", reason.as_str())], stats.dropped_total(reason)));
    counters(encoder, "pailou_spans_dropped", "Spans that no collector took, by reason", dropped)
}

/// Access logs of Gateways' own, if there are any.
fn access_logs(encoder: &mut DescriptorEncoder<'_>, context: &Context) -> fmt::Result {
    let logs = &context.gateway_logs;
    if !logs.is_any() {
        return Ok(());
    }
    let stats = logs.stats();
    let exported = stats.map(|(sink, stats)| ([("sink", sink)], stats.exported_total()));
    counters(encoder, "pailou_access_log_exported", "Access log records that a collector or access log service took", exported)?;
    let dropped = stats.into_iter().flat_map(|(sink, stats)| {
        DropReason::ALL.map(|reason| ([("sink", sink), ("reason", reason.as_str())], stats.dropped_total(reason)))
    });
    let of_files = [([("sink", "file"), ("reason", "write")], logs.file_drops())];
    let help = "Access log records that got to no collector, access log service or file, by reason";
    counters(encoder, "pailou_access_log_dropped", help, dropped.chain(of_files))
}

/// Metrics for collectors, if there are any.
fn metric_exports(encoder: &mut DescriptorEncoder<'_>, context: &Context) -> fmt::Result {
    if !context.metric_exporters.is_on() {
        return Ok(());
    }
    let stats = context.metric_exporters.stats();
    let exported = [([("process", "pailou")], stats.exported_total())];
    counters(encoder, "pailou_metrics_exported", "Messages of metrics that a collector took", exported)?;
    let dropped = DropReason::ALL.map(|reason| ([("reason", reason.as_str())], stats.dropped_total(reason)));
    counters(encoder, "pailou_metrics_dropped", "Messages of metrics that no collector took, by reason", dropped)
}

/// The rate limit service that decides on global limits, if there is one.
fn limit_service(encoder: &mut DescriptorEncoder<'_>, context: &Context) -> fmt::Result {
    let Some(service) = context.limit_service.current() else { return Ok(()) };
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
    let stats = context.limit_service.stats();
    let up = f64::from(u8::from(!service.is_down()));
    let figures = [
        ("pailou_rate_limit_service_up", "1 while the rate limit service answers", up),
        ("pailou_rate_limit_service_calls", "Calls to the rate limit service", read(&stats.calls)),
        ("pailou_rate_limit_service_failures", "Calls that the rate limit service did not answer in time", read(&stats.failures)),
        (
            "pailou_rate_limit_service_bypassed",
            "Questions to the rate limit service that were not answered, so that the request passed",
            read(&stats.bypassed),
        ),
        (
            "pailou_rate_limit_service_lost_charges",
            "Costs of responses that the rate limit service was not told",
            read(&stats.lost_charges),
        ),
    ];
    of_process(encoder, figures)
}

/// Policies make several clusters of one backend; what they have under way at an endpoint is one figure. Those of a pool share their count.
fn endpoints(encoder: &mut DescriptorEncoder<'_>, runtime: &Runtime) -> fmt::Result {
    let mut in_flight: BTreeMap<EndpointLabels, f64> = BTreeMap::new();
    for cluster in runtime.clusters().iter().filter(|cluster| cluster.pool().is_none()) {
        let backend = cluster.key().endpoints.to_string();
        for endpoint in cluster.endpoints() {
            *in_flight.entry(EndpointLabels::new(&backend, endpoint.endpoint())).or_default() += f64::from(endpoint.in_flight());
        }
    }
    for (key, pool) in runtime.pools() {
        let backend = key.to_string();
        let all = pool.endpoints();
        in_flight.extend(all.iter().map(|it| (EndpointLabels::new(&backend, it.endpoint()), f64::from(it.record().in_flight()))));
    }
    let rows = in_flight.iter().map(|(labels, value)| (labels.pairs(), *value));
    gauges(encoder, "pailou_endpoint_requests_active", "Requests under way at an endpoint", rows)
}

fn health(encoder: &mut DescriptorEncoder<'_>, runtime: &Runtime) -> fmt::Result {
    let all = endpoint_health::of(runtime);
    type Read = fn(&EndpointHealth) -> Option<bool>;
    let tables: [(&str, &str, Read); 2] = [
        ("pailou_endpoint_healthy", "1 while an endpoint's active health checks succeed", |health| health.passes_checks),
        ("pailou_endpoint_ejected", "1 while passive health checks keep requests from an endpoint", |health| {
            health.is_watched.then_some(health.ejected_for.is_some())
        }),
    ];
    for (name, help, read) in tables {
        let rows = all.iter().filter_map(|(labels, health)| Some((labels.pairs(), f64::from(u8::from(read(health)?)))));
        gauges(encoder, name, help, rows)?;
    }
    Ok(())
}

fn pools(encoder: &mut DescriptorEncoder<'_>, runtime: &Runtime) -> fmt::Result {
    let mut reports = Vec::new();
    let mut blocks = Vec::new();
    for (key, pool) in runtime.pools() {
        let backend = key.to_string();
        blocks.push((backend.clone(), pool.prefix_blocks() as f64));
        reports.extend(pool.snapshot().into_iter().map(|report| (EndpointLabels::new(&backend, &report.endpoint), report)));
    }
    type Read = fn(&pailou_picker::EndpointReport) -> f64;
    let figures: [(&str, &str, Read); 6] = [
        ("pailou_engine_requests_waiting", "Requests in an engine's queue", |report| report.waiting.into()),
        ("pailou_engine_requests_running", "Requests that an engine runs", |report| report.running.into()),
        ("pailou_engine_kv_cache_usage", "Share of an engine's KV cache in use, 0 to 1", |report| report.kv.into()),
        ("pailou_engine_metrics_fresh", "1 while an engine's own figures are recent", |report| report.fresh.into()),
        ("pailou_prefix_predicted_tokens", "Prompt tokens expected in an engine's cache", |report| report.predicted_tokens as f64),
        ("pailou_prefix_cached_tokens", "Prompt tokens that an engine found in its cache", |report| report.cached_tokens as f64),
    ];
    for (name, help, read) in figures {
        let rows = reports.iter().map(|(labels, report)| (labels.pairs(), read(report)));
        gauges(encoder, name, help, rows)?;
    }
    let rows = blocks.iter().map(|(backend, blocks)| ([("backend", &**backend)], *blocks));
    gauges(encoder, "pailou_prefix_index_blocks", "Blocks of prompts in a pool's prefix index", rows)
}

/// Objectives of requests: of pools that had one.
fn objectives(encoder: &mut DescriptorEncoder<'_>, runtime: &Runtime) -> fmt::Result {
    let pools: Vec<_> = runtime.pools().map(|(key, pool)| (key.to_string(), pool.objectives())).collect();
    let rows = pools.iter().filter(|(_, totals)| *totals != ObjectiveTotals::default()).flat_map(|(backend, totals)| {
        totals.rows().map(|([objective, result], count)| ([("backend", &**backend), objective, result], count))
    });
    counters(encoder, OBJECTIVES_METRIC.0, OBJECTIVES_METRIC.1, rows)
}

/// Figures of pools that have KV events.
fn exact_prefixes(encoder: &mut DescriptorEncoder<'_>, runtime: &Runtime) -> fmt::Result {
    let pools: Vec<_> = runtime.pools().map(|(key, pool)| (key.to_string(), pool.exact_figures())).collect();
    let Some(first) = pools.iter().map(|(_, figures)| figures).find(|figures| !figures.is_empty()) else { return Ok(()) };
    for (place, ExactFigure { name, help, label, .. }) in first.iter().enumerate() {
        let values = pools.iter().filter_map(|(backend, figures)| Some((&**backend, &figures.get(place)?.values)));
        let rows = values.flat_map(|(backend, values)| values.iter().map(move |(value, figure)| (backend, *value, *figure)));
        match label {
            Some(label) => {
                gauges(encoder, name, help, rows.map(|(backend, value, figure)| ([("backend", backend), (label, value)], figure)))?;
            }
            None => gauges(encoder, name, help, rows.map(|(backend, _, figure)| ([("backend", backend)], figure)))?,
        }
    }
    Ok(())
}

fn breakers(encoder: &mut DescriptorEncoder<'_>, runtime: &Runtime) -> fmt::Result {
    // A rule may bear another's number as its name, and so its label.
    let mut counted: BTreeMap<(String, &str, &str), [f64; 2]> = BTreeMap::new();
    for (key, breaker) in runtime.breakers() {
        for resource in Resource::ALL {
            // Most breakers never refuse: a series only for those that have something to say keeps 5,000 routes readable.
            if breaker.active(resource) > 0 || breaker.overflowed(resource) > 0 {
                let [active, refused] = counted.entry((key.to_string(), key.kind(), resource.name())).or_default();
                *active += f64::from(breaker.active(resource));
                *refused += breaker.overflowed(resource) as f64;
            }
        }
    }
    let tables = [
        ("pailou_breaker_active", "What a circuit breaker counts now"),
        ("pailou_breaker_refused", "What a circuit breaker refused"),
    ];
    for (which, (metric, help)) in tables.into_iter().enumerate() {
        let rows = counted.iter().map(|((name, kind, resource), counts)| {
            ([("breaker", &**name), ("kind", *kind), ("resource", *resource)], counts[which])
        });
        gauges(encoder, metric, help, rows)?;
    }
    let rejected = runtime.breakers().map(|(key, breaker)| (key.to_string(), key.kind(), breaker.admission.rejected()));
    let rejected: Vec<_> = rejected.filter(|(_, _, count)| *count > 0).collect();
    let rows = rejected.iter().map(|(name, kind, count)| ([("breaker", &**name), ("kind", *kind)], *count as f64));
    gauges(encoder, "pailou_admission_control_rejected", "Attempts at a backend that admission control refused", rows)
}
