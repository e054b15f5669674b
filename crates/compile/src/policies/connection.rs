//! Connections to backends: `connection`, `dns`, `http2` and `useClientProtocol` of a BackendTrafficPolicy.

use std::time::Duration;

use crate::status::Problem;
use pailou_api::{
    Quantity,
    envoy::{
        backend_traffic_policy::BackendTrafficPolicySpec,
        dns::{DnsLookupFamily, DnsSettings as DnsSpec},
        http2::Http2Settings,
    },
};
use pailou_snapshot::{ConnectionSettings, DnsFamily, DnsSettings, UpstreamHttp2};

use super::values::invalid;

/// Envoy Gateway's refresh rate of names.
const REFRESH_RATE: Duration = Duration::from_secs(30);
/// The largest window of HTTP/2 (RFC 9113, 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// Reads the settings.
///
/// # Errors
/// `preconnect` is out of Envoy Gateway's bounds.
pub(super) fn read(spec: &BackendTrafficPolicySpec) -> Result<ConnectionSettings, Problem> {
    Ok(ConnectionSettings {
        preconnect: preconnect(spec)?,
        dns: spec.dns.as_ref().map(dns).unwrap_or_default(),
        http2: spec.http2.as_ref().map(http2).unwrap_or_default(),
        follows_client: spec.use_client_protocol == Some(true),
    })
}

fn preconnect(spec: &BackendTrafficPolicySpec) -> Result<Option<u16>, Problem> {
    let preconnect = spec.connection.and_then(|connection| connection.preconnect);
    match preconnect.and_then(|preconnect| preconnect.per_endpoint_percent) {
        None | Some(100) => Ok(None),
        Some(percent @ 101..=300) => Ok(u16::try_from(percent).ok()),
        Some(percent) => Err(invalid(&format!("connection.preconnect.perEndpointPercent: {percent} is not between 100 and 300"))),
    }
}

fn dns(spec: &DnsSpec) -> DnsSettings {
    let family = match spec.lookup_family {
        None | Some(DnsLookupFamily::IPv4AndIPv6) => DnsFamily::Both,
        Some(DnsLookupFamily::IPv4) => DnsFamily::V4,
        Some(DnsLookupFamily::IPv6) => DnsFamily::V6,
        Some(DnsLookupFamily::IPv4Preferred) => DnsFamily::PreferV4,
        Some(DnsLookupFamily::IPv6Preferred) => DnsFamily::PreferV6,
    };
    let refresh = (spec.respect_dns_ttl == Some(false)).then(|| spec.dns_refresh_rate.map_or(REFRESH_RATE, |it| it.as_std()));
    DnsSettings { family, refresh }
}

fn http2(spec: &Http2Settings) -> UpstreamHttp2 {
    let window = |size: Quantity| u32::try_from(size.bytes()).unwrap_or(MAX_WINDOW).min(MAX_WINDOW);
    let keepalive = spec.connection_keepalive.unwrap_or_default();
    UpstreamHttp2 {
        initial_stream_window: spec.initial_stream_window_size.map(window),
        initial_connection_window: spec.initial_connection_window_size.map(window),
        max_concurrent_streams: spec.max_concurrent_streams,
        ping_interval: keepalive.interval.and_then(|it| it.enabled()),
        ping_timeout: keepalive.timeout.and_then(|it| it.enabled()),
    }
}
