//! Metrics of Gateways: EnvoyProxy `spec.telemetry.metrics`, the Gateway's own or its class's. A process has its metrics in common.

use std::sync::Arc;

use pailou_api::{EnvoyProxy, envoy::proxy_metrics::OpenTelemetryMetricSink};
use pailou_snapshot::{Cluster, Compression, MetricSink};
use pailou_telemetry::metric_export::Temporality;

use crate::{
    clusters::Clusters,
    gateway::{GatewayState, Gateways},
    index::Index,
    parameters,
    policies::http_filters,
    resolver::Resolver,
    telemetry_collector,
};

/// Most sinks of an EnvoyProxy, as in Envoy Gateway.
const MAX_SINKS: usize = 16;

/// Metrics of a process.
#[derive(Debug, Default)]
pub(crate) struct GatewayMetrics {
    /// Receivers, each once.
    pub(crate) sinks: Vec<Arc<MetricSink>>,
    /// Their clusters, each once.
    pub(crate) clusters: Vec<Arc<Cluster>>,
    /// Every Gateway has the endpoint for Prometheus disabled.
    pub(crate) hides_prometheus: bool,
    /// Compression of that endpoint: the first Gateway's that has one.
    pub(crate) compression: Option<Compression>,
}

/// Reads the metrics of Gateways, and finds their collectors. A collector that cannot be had gets none.
pub(crate) fn of_gateways<'a>(index: &Index<'a>, gateways: &mut Gateways<'_>, clusters: &mut Clusters<'a>) -> GatewayMetrics {
    let mut found = GatewayMetrics::default();
    let (mut count, mut hiding) = (0, 0);
    for (id, gateway) in gateways.list.iter_mut() {
        count += 1;
        let Some(proxy) = parameters::metrics(index, gateway.object) else { continue };
        let Some(spec) = proxy.spec.telemetry.as_ref().and_then(|it| it.metrics.as_ref()) else { continue };
        let prometheus = spec.prometheus.as_ref();
        hiding += usize::from(prometheus.is_some_and(|it| it.disable));
        found.compression = found.compression.or_else(|| prometheus?.compression.as_ref().map(http_filters::compression));
        let mut resolver = Resolver::new(index, clusters);
        resolver.identity = gateway.identity.clone();
        let mut problems = Vec::new();
        for (place, sink) in spec.sinks.iter().take(MAX_SINKS).enumerate() {
            let none = OpenTelemetryMetricSink::default();
            let otel = sink.open_telemetry.as_ref().unwrap_or(&none);
            match read(&mut resolver, proxy, otel, gateway) {
                Ok((sink, its)) => found.add(sink, its),
                Err(problem) => problems.push(format!("spec.telemetry.metrics.sinks[{place}].openTelemetry.{problem}")),
            }
        }
        if spec.sinks.len() > MAX_SINKS {
            problems.push(format!("spec.telemetry.metrics.sinks: {} sinks, but {MAX_SINKS} are the most", spec.sinks.len()));
        }
        for policy in resolver.finish().policies {
            clusters.tls.reached(policy, id);
        }
        if !problems.is_empty() {
            let message = format!("{}; until then these get no metrics", problems.join(", "));
            telemetry_collector::warn(gateway, proxy, &message);
        }
    }
    found.hides_prometheus = count > 0 && hiding == count;
    found
}

impl GatewayMetrics {
    fn add(&mut self, sink: MetricSink, clusters: Vec<Arc<Cluster>>) {
        if self.sinks.iter().all(|known| **known != sink) {
            self.sinks.push(Arc::new(sink));
        }
        telemetry_collector::add_new(&mut self.clusters, clusters);
    }
}

/// Reads a receiver.
///
/// # Errors
/// The first field that is of no use.
fn read(
    resolver: &mut Resolver<'_, '_>,
    proxy: &EnvoyProxy,
    otel: &OpenTelemetryMetricSink,
    gateway: &GatewayState<'_>,
) -> Result<(MetricSink, Vec<Arc<Cluster>>), String> {
    let (backends, clusters) = telemetry_collector::backends(resolver, &proxy.meta.namespace, &otel.backend_refs, "backendRefs")?;
    let named = otel.resource_attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let sink = MetricSink {
        resource: telemetry_collector::resource(&telemetry_collector::service(gateway), named),
        collector: telemetry_collector::collector(backends, telemetry_collector::headers(&otel.headers, "headers")?),
        temporality: Temporality {
            counters_are_deltas: otel.report_counters_as_deltas,
            histograms_are_deltas: otel.report_histograms_as_deltas,
        },
        interval: MetricSink::INTERVAL,
        timeout: MetricSink::TIMEOUT,
    };
    Ok((sink, clusters))
}
