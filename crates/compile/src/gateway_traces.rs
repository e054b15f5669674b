//! Traces of Gateways: EnvoyProxy `spec.telemetry.tracing`, the Gateway's own or its class's.

use std::sync::Arc;

use pailou_api::{
    EnvoyProxy,
    envoy::telemetry::{OpenTelemetryTracing, ProxyTracing, TracingSampler, TracingSamplerType},
    http_filter::Fraction,
};
use pailou_snapshot::{Batching, Cluster, ListenerTracing, Tracing};
use pailou_telemetry::{
    propagators::Propagators,
    sampling::{Ratio, RootSampler, Sampler},
};

use crate::{
    clusters::Clusters,
    custom_spans::{self, CustomFields},
    gateway::{GatewayState, Gateways},
    index::Index,
    parameters,
    resolver::Resolver,
    telemetry_collector,
};

/// Reads the traces of Gateways, and finds their collectors. Gives back the clusters, each once. A collector that cannot be had costs the traces,
/// and no request.
pub(crate) fn of_gateways<'a>(index: &Index<'a>, gateways: &mut Gateways<'_>, clusters: &mut Clusters<'a>) -> Vec<Arc<Cluster>> {
    let mut found: Vec<Arc<Cluster>> = Vec::new();
    for (id, gateway) in gateways.list.iter_mut() {
        let Some(proxy) = parameters::tracing(index, gateway.object) else { continue };
        let Some(spec) = proxy.spec.telemetry.as_ref().and_then(|it| it.tracing.as_ref()) else { continue };
        // The environment's collector is not the one that is named.
        gateway.listeners.iter_mut().for_each(|listener| listener.tracing = ListenerTracing::Off);
        if spec.provider.kind != "OpenTelemetry" {
            // Its condition names it as unsupported.
            continue;
        }
        let mut resolver = Resolver::new(index, clusters);
        resolver.identity = gateway.identity.clone();
        match read(&mut resolver, proxy, spec, gateway) {
            Ok((tracing, its)) => {
                let tracing = Arc::new(tracing);
                for listener in &mut gateway.listeners {
                    listener.tracing = ListenerTracing::Own(Arc::clone(&tracing));
                }
                telemetry_collector::add_new(&mut found, its);
            }
            Err(message) => {
                let message = format!("spec.telemetry.tracing.{message}; until then there are no traces");
                telemetry_collector::warn(gateway, proxy, &message);
            }
        }
        for policy in resolver.finish().policies {
            clusters.tls.reached(policy, id);
        }
    }
    found
}

/// Reads the settings.
///
/// # Errors
/// The first field, below `spec.telemetry.tracing`, that is of no use.
fn read(
    resolver: &mut Resolver<'_, '_>,
    proxy: &EnvoyProxy,
    spec: &ProxyTracing,
    gateway: &GatewayState<'_>,
) -> Result<(Tracing, Vec<Arc<Cluster>>), String> {
    let provider = &spec.provider;
    let (backends, clusters) =
        telemetry_collector::backends(resolver, &proxy.meta.namespace, &provider.backend_refs, "provider.backendRefs")?;
    let nothing = OpenTelemetryTracing::default();
    let otel = provider.open_telemetry.as_ref().unwrap_or(&nothing);
    let service = provider.service_name.clone().unwrap_or_else(|| telemetry_collector::service(gateway));
    let named = otel.resource_attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let tracing = Tracing {
        sampler: sampler(spec, otel.sampler.as_ref())?,
        propagators: Propagators::default(),
        resource: telemetry_collector::resource(&service, named),
        collector: telemetry_collector::collector(
            backends,
            telemetry_collector::headers(&otel.headers, "provider.openTelemetry.headers")?,
        ),
        batching: Batching::default(),
        custom: custom_spans::read(CustomFields {
            custom_tags: &spec.custom_tags,
            tags: &spec.tags,
            span_name: spec.span_name.as_ref(),
        })?,
    };
    Ok((tracing, clusters))
}

/// The sampler. A rate concerns requests without a parent, as in Envoy: what a client's `traceparent` says goes before it.
fn sampler(spec: &ProxyTracing, sampler: Option<&TracingSampler>) -> Result<Sampler, String> {
    let set = |fraction: Option<_>, field, absent| fraction.map_or(Ok(absent), |fraction| ratio(fraction, field));
    let overall = set(spec.overall_sampling_fraction, "overallSamplingFraction", Ratio::ALL)?;
    let forced = set(spec.client_sampling_fraction, "clientSamplingFraction", Ratio::NONE)?;
    let Some(sampler) = sampler else {
        let part = match (spec.sampling_rate, spec.sampling_fraction) {
            (Some(_), Some(_)) => return Err("samplingRate: set it or samplingFraction, not both".to_owned()),
            (Some(rate), None) if rate > 100 => return Err("samplingRate: write 0 to 100".to_owned()),
            (Some(rate), None) => Ratio::new(f64::from(rate) / 100.0),
            (None, fraction) => set(fraction, "samplingFraction", Ratio::ALL)?,
        };
        return Ok(Sampler { root: RootSampler::TraceIdRatio(part), is_parent_based: true, forced, overall });
    };
    let ratio = || set(sampler.sampling_percentage, "provider.openTelemetry.sampler.samplingPercentage", Ratio::ALL);
    let (root, is_parent_based) = match sampler.kind {
        TracingSamplerType::AlwaysOn => (RootSampler::AlwaysOn, false),
        TracingSamplerType::AlwaysOff => (RootSampler::AlwaysOff, false),
        TracingSamplerType::TraceIdRatio => (RootSampler::TraceIdRatio(ratio()?), false),
        TracingSamplerType::ParentBasedAlwaysOn => (RootSampler::AlwaysOn, true),
        TracingSamplerType::ParentBasedAlwaysOff => (RootSampler::AlwaysOff, true),
        TracingSamplerType::ParentBasedTraceIdRatio => (RootSampler::TraceIdRatio(ratio()?), true),
    };
    // As in Envoy, a sampler decides whatever a client forces.
    Ok(Sampler { root, is_parent_based, forced: Ratio::NONE, overall })
}

/// A fraction as a part of all traces.
///
/// # Errors
/// It is more than 1, or none.
pub(crate) fn ratio(fraction: Fraction, field: &str) -> Result<Ratio, String> {
    let Fraction { numerator, denominator } = fraction;
    if denominator == 0 || numerator > denominator {
        return Err(format!("{field}: the numerator is 0 to the denominator, which is 1 or more"));
    }
    Ok(Ratio::new(f64::from(numerator) / f64::from(denominator)))
}
