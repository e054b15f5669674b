//! HTTP filters that a BackendTrafficPolicy puts before the backends of its rules.

mod bandwidth_limit;
pub(crate) mod rate_limit;
mod response_override;
mod rule_identity;

use std::sync::Arc;

use http::StatusCode;

use crate::{limit_backend, status::Problem};
use pailou_api::envoy::{
    backend_traffic_policy::{BackendTrafficPolicySpec, Compression as SpecCompression, CompressionType},
    fault::{FaultAbort, FaultInjection},
};
use pailou_snapshot::{Abort, Compression, Compressor, ContentCoding, Fault, Fraction, HttpFilter};

use super::{super::index::Index, values::invalid};

/// Envoy's least length of a compressed response, in bytes.
const MIN_CONTENT_LENGTH: u64 = 30;

/// Policies that a merged policy's parts come from.
pub(crate) struct Sources<'p> {
    /// Namespace of the ConfigMaps of `responseOverride`.
    pub(crate) namespace: &'p str,
    /// Of the rules of `rateLimit.local`, in order.
    pub(crate) local: &'p rate_limit::Origins<'p>,
    /// Of the rules of `rateLimit.global`, in order.
    pub(crate) global: &'p rate_limit::Origins<'p>,
}

/// The filters of a policy's spec.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(crate) fn of_policy(
    index: &Index<'_>,
    spec: &BackendTrafficPolicySpec,
    sources: &Sources<'_>,
) -> Result<Vec<HttpFilter>, Problem> {
    let mut filters = Vec::new();
    if !spec.response_override.is_empty() {
        let rules = response_override::read(index, sources.namespace, &spec.response_override)?;
        filters.push(HttpFilter::ResponseOverride(Arc::new(rules)));
    }
    if let Some(spec) = &spec.fault_injection {
        filters.push(HttpFilter::Fault(Arc::new(fault(spec)?)));
    }
    if let Some(spec) = &spec.rate_limit {
        if spec.global.as_ref().is_some_and(|it| !it.rules.is_empty()) {
            // Limits that are to be shared are not counted in any other way.
            limit_backend::read(index)?;
        }
        let limits = rate_limit::read(spec, sources.local, sources.global)?;
        filters.extend(limits.into_iter().map(|limits| HttpFilter::RateLimit(Arc::new(limits))));
    }
    let codings: Vec<_> = match spec.compressor.is_empty() {
        true => spec.compression.iter().map(compression).collect(),
        false => spec.compressor.iter().filter(|it| has_settings(it)).map(compression).collect(),
    };
    if !codings.is_empty() {
        filters.push(HttpFilter::Compressor(Arc::new(Compressor(codings))));
    }
    if let Some(limit) = spec.bandwidth_limit.as_ref().map(bandwidth_limit::read).transpose()?.flatten() {
        filters.push(HttpFilter::BandwidthLimit(Arc::new(limit)));
    }
    Ok(filters)
}

/// Filters of a policy, and those of another of kinds that the first does not set.
pub(crate) fn over(own: &[HttpFilter], other: &[HttpFilter]) -> Vec<HttpFilter> {
    let added = other.iter().filter(|filter| own.iter().all(|it| it.rank() != filter.rank()));
    own.iter().chain(added).cloned().collect()
}

/// Whether an entry of `compressor` has the object of its type. Envoy Gateway leaves out those that do not.
pub(crate) fn has_settings(spec: &SpecCompression) -> bool {
    match spec.kind {
        CompressionType::Gzip => spec.gzip.is_some(),
        CompressionType::Brotli => spec.brotli.is_some(),
        CompressionType::Zstd => spec.zstd.is_some(),
    }
}

/// A way to compress.
pub(crate) fn compression(spec: &SpecCompression) -> Compression {
    Compression {
        coding: match spec.kind {
            CompressionType::Gzip => ContentCoding::Gzip,
            CompressionType::Brotli => ContentCoding::Brotli,
            CompressionType::Zstd => ContentCoding::Zstd,
        },
        min_content_length: spec.min_content_length.map_or(MIN_CONTENT_LENGTH, |quantity| quantity.bytes()),
    }
}

fn fault(spec: &FaultInjection) -> Result<Fault, Problem> {
    let delay = spec.delay.map(|it| (it.fixed_delay.as_std(), share(it.percentage)));
    let abort = spec.abort.map(|it| Ok((abort(&it)?, share(it.percentage)))).transpose()?;
    Ok(Fault { delay, abort })
}

fn abort(spec: &FaultAbort) -> Result<Abort, Problem> {
    match (spec.http_status, spec.grpc_status) {
        (Some(status), None) => StatusCode::from_u16(status)
            .map(Abort::Http)
            .map_err(|_| invalid(&format!("faultInjection.abort.httpStatus: {status} is no HTTP status"))),
        (None, Some(status)) => Ok(Abort::Grpc(status)),
        _ => Err(invalid("faultInjection.abort: set one of httpStatus and grpcStatus")),
    }
}

/// A percentage in Envoy's resolution, a millionth.
fn share(percentage: f64) -> Fraction {
    const DENOMINATOR: u32 = 1_000_000;
    // A cast from a float saturates: below zero is none.
    Fraction {
        numerator: ((percentage / 100.0 * f64::from(DENOMINATOR)).round() as u32).min(DENOMINATOR),
        denominator: DENOMINATOR,
    }
}
