//! `bandwidthLimit` of a BackendTrafficPolicy.

use http::HeaderName;
use pailou_api::envoy::bandwidth_limit::{BandwidthLimit as Spec, BandwidthLimitTrailers, BandwidthLimitUnit, BandwidthLimitValue};
use pailou_snapshot::{BandwidthLimit, BandwidthTrailers};

use crate::{policies::values::invalid, status::Problem};

/// The smallest limit, in bytes a second: Envoy counts in KiB.
const MIN_RATE: u64 = 1024;

/// Reads the limits; `None` where there are none.
///
/// # Errors
/// A limit that is too small, or trailers whose names are none.
pub(super) fn read(spec: &Spec) -> Result<Option<BandwidthLimit>, Problem> {
    let request = spec.request.as_ref().map(|it| rate("request", it.limit)).transpose()?;
    let response = spec.response.as_ref().map(|it| rate("response", it.limit)).transpose()?;
    let trailers = spec.response.as_ref().and_then(|it| it.response_trailers.as_ref()).map(trailers).transpose()?;
    Ok((request.is_some() || response.is_some()).then_some(BandwidthLimit { request, response, trailers }))
}

fn rate(direction: &str, limit: BandwidthLimitValue) -> Result<u64, Problem> {
    let seconds = match limit.unit {
        BandwidthLimitUnit::Second => 1,
        BandwidthLimitUnit::Minute => 60,
        BandwidthLimitUnit::Hour => 3600,
    };
    let rate = limit.value.bytes() / seconds;
    if rate < MIN_RATE {
        let (value, unit) = (limit.value.bytes(), limit.unit);
        let message = format!("bandwidthLimit.{direction}.limit: {value} bytes in a {unit:?} are less than 1024 bytes in a second");
        return Err(invalid(&message));
    }
    Ok(rate)
}

fn trailers(spec: &BandwidthLimitTrailers) -> Result<BandwidthTrailers, Problem> {
    let prefix = spec.prefix.as_deref().unwrap_or_default();
    let name = |name: &str| {
        let full = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}") };
        HeaderName::try_from(&full)
            .map_err(|_| invalid(&format!("bandwidthLimit.response.responseTrailers.prefix: {full:?} is no header name")))
    };
    Ok(BandwidthTrailers {
        request_delay: name("bandwidth-request-delay-ms")?,
        response_delay: name("bandwidth-response-delay-ms")?,
        request_filter_delay: name("bandwidth-request-filter-delay-ms")?,
        response_filter_delay: name("bandwidth-response-filter-delay-ms")?,
    })
}
