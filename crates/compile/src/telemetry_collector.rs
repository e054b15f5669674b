//! Collectors of telemetry that an EnvoyProxy names: their backends, and headers of requests to them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use pailou_api::{
    envoy::{ENVOY_GROUP, telemetry::TelemetryHeader},
    refs::BackendRef,
};
use pailou_snapshot::{Cluster, ClusterKey};
use pailou_telemetry::export::Resource;

use crate::{
    grants::Referrer,
    policies::traffic::Traffic,
    resolver::{Load, Resolver},
};

/// Most backends of a collector.
const MAX_BACKENDS: usize = 16;
/// Most headers of requests to it, as in Envoy Gateway.
const MAX_HEADERS: usize = 32;
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
