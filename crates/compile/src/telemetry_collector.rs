//! Collectors of telemetry that an EnvoyProxy names: their backends, headers of requests to them, and conditions about both.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use pailou_api::{
    EnvoyProxy,
    envoy::{ENVOY_GROUP, telemetry::TelemetryHeader},
    refs::BackendRef,
};
use pailou_snapshot::{Cluster, ClusterKey, Collector, CollectorTarget, OtlpProtocol};
use pailou_telemetry::export::Resource;

use crate::{
    gateway::GatewayState,
    grants::Referrer,
    policies::traffic::Traffic,
    resolver::{Load, Resolver},
    status::Condition,
    warnings::{self, PARTIALLY_SUPPORTED},
};

/// Most backends of a collector.
const MAX_BACKENDS: usize = 16;
/// Most headers of requests to it, as in Envoy Gateway.
const MAX_HEADERS: usize = 32;
/// Longest time of a request to it.
const TIMEOUT: Duration = Duration::from_secs(10);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Backends of a collector, with weights, and their clusters.
pub(crate) type CollectorBackends = (Vec<(u32, ClusterKey)>, Vec<Arc<Cluster>>);

/// Finds the backends that an EnvoyProxy of a namespace names in a field.
///
/// # Errors
/// The field, and why one cannot be had.
pub(crate) fn backends(
    resolver: &mut Resolver<'_, '_>,
    namespace: &str,
    refs: &[BackendRef],
    field: &str,
) -> Result<CollectorBackends, String> {
    let count = refs.len();
    if !(1..=MAX_BACKENDS).contains(&count) {
        return Err(format!("{field}: {count} backends, but 1 to {MAX_BACKENDS} are needed"));
    }
    let from = Referrer { group: ENVOY_GROUP, kind: "EnvoyProxy", namespace };
    let (mut backends, mut clusters) = (Vec::new(), Vec::new());
    for (place, to) in refs.iter().enumerate() {
        let cluster = resolver.policy_server(from, &to.target(), Load::Grpc, &Traffic::default());
        let cluster = cluster.map_err(|problem| format!("{field}[{place}]: {}", problem.message))?;
        backends.push((to.weight, cluster.key.clone()));
        clusters.push(Arc::new(cluster));
    }
    Ok((backends, clusters))
}

/// Headers of requests to a collector. Values may be credentials, and are not repeated.
///
/// # Errors
/// The field, and the place of the first that is not valid.
pub(crate) fn headers(headers: &[TelemetryHeader], field: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    if headers.len() > MAX_HEADERS {
        return Err(format!("{field}: {} headers, but {MAX_HEADERS} are the most", headers.len()));
    }
    let header = |(place, header): (usize, &TelemetryHeader)| {
        let error = |part: &str| format!("{field}[{place}].{part}: not valid in a header");
        let mut value = HeaderValue::try_from(&header.value).map_err(|_| error("value"))?;
        value.set_sensitive(true);
        Ok((HeaderName::try_from(&header.name).map_err(|_| error("name"))?, value))
    };
    headers.iter().enumerate().map(header).collect()
}

/// The collector that these backends are, over gRPC.
pub(crate) fn collector(backends: Vec<(u32, ClusterKey)>, headers: Vec<(HeaderName, HeaderValue)>) -> Collector {
    Collector {
        target: CollectorTarget::Backends(backends),
        protocol: OtlpProtocol::Grpc,
        headers,
        timeout: TIMEOUT,
        is_compressed: false,
    }
}

/// Name of a Gateway's service where none is given. Source: Envoy Gateway.
pub(crate) fn service(gateway: &GatewayState<'_>) -> String {
    format!("{}.{}", gateway.object.meta.name, gateway.object.meta.namespace)
}

/// Adds clusters that are not among those found.
pub(crate) fn add_new(found: &mut Vec<Arc<Cluster>>, clusters: Vec<Arc<Cluster>>) {
    for cluster in clusters {
        if found.iter().all(|known| known.key != cluster.key) {
            found.push(cluster);
        }
    }
}

/// Tells in the Gateway's condition of parameters which field of its EnvoyProxy is not acted on, and what that means.
pub(crate) fn warn(gateway: &mut GatewayState<'_>, proxy: &EnvoyProxy, message: &str) {
    let message = format!("EnvoyProxy {}/{}: {message}", proxy.meta.namespace, proxy.meta.name);
    let warning = Condition::holds(PARTIALLY_SUPPORTED, "UnsupportedParameters", message, gateway.object.meta.generation);
    gateway.parameters = warnings::joined(gateway.parameters.take(), Some(warning));
}

/// The gateway, as its telemetry names it; `named` attributes take the place of its own.
pub(crate) fn resource<'a>(service: &'a str, named: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Resource {
    let own = [
        ("service.name", service),
        ("service.version", VERSION),
        ("telemetry.sdk.name", "pailou"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", VERSION),
    ];
    let own = own.into_iter().filter(|(name, _)| named.clone().all(|(other, _)| other != *name));
    Resource::new(own.chain(named.clone()), "pailou", VERSION)
}
