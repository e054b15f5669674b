//! ClientTrafficPolicy.

use super::Check;
use crate::envoy::client_traffic_policy::{ClientIpDetection, ClientTrafficPolicySpec};
use crate::envoy::http2::{Http2Keepalive, Http2Settings};
use crate::quantity::Quantity;

/// Most lists of revoked certificates. Envoy Gateway has no bound.
const MAX_REVOCATION_LISTS: usize = 64;

pub(super) fn policy(check: &mut Check, policy: &ClientTrafficPolicySpec) {
    let targets = policy.targets();
    check.targets(targets.len() + policy.target_selectors.len());
    for target in targets.iter().filter(|target| target.kind != "Gateway" && target.kind != "ListenerSet") {
        let message = format!("{} is not allowed: a ClientTrafficPolicy applies to a Gateway or ListenerSet", target.kind);
        check.fail_at("targetRefs", message);
    }
    if let Some(detection) = &policy.client_ip_detection {
        check.at("clientIPDetection", |check| client_ip(check, detection));
    }
    if let Some(http2) = &policy.http2 {
        check.at("http2", |check| self::http2(check, http2));
    }
    if let Some(limit) = policy.connection.as_ref().and_then(|connection| connection.connection_limit) {
        check.at("connection.connectionLimit", |check| match limit.value {
            Some(0) => check.fail_at("value", "must be at least 1"),
            _ if limit.max_requests_per_connection == Some(0) => {
                check.fail_at("maxRequestsPerConnection", "must be at least 1");
            }
            None if limit.close_delay.is_some() => check.fail_at("closeDelay", "needs the field value beside it"),
            _ => {}
        });
    }
    if let Some(tls) = &policy.tls
        && let (Some(oldest), Some(newest)) = (tls.min_version, tls.max_version)
        && oldest > newest
    {
        check.fail_at("tls.minVersion", "is newer than tls.maxVersion");
    }
    if let Some(validation) = policy.tls.as_ref().and_then(|tls| tls.client_validation.as_ref()) {
        check.count("tls.clientValidation.caCertificateRefs", validation.ca_certificate_refs.len(), 0..=8);
        if let Some(lists) = &validation.crl {
            check.count("tls.clientValidation.crl.refs", lists.refs.len(), 1..=MAX_REVOCATION_LISTS);
        }
    }
    if let Some(health) = &policy.health_check {
        check.length("healthCheck.path", &health.path, 1..=1024);
    }
    if let Some(headers) = &policy.headers
        && headers.preserve_x_request_id.is_some()
        && headers.request_id.is_some()
    {
        check.fail_at("headers.preserveXRequestID", "must not be set beside requestID: keep requestID");
    }
}

/// HTTP/2 settings of either side.
pub(super) fn http2(check: &mut Check, http2: &Http2Settings) {
    window(check, "initialStreamWindowSize", http2.initial_stream_window_size);
    window(check, "initialConnectionWindowSize", http2.initial_connection_window_size);
    if let Some(streams) = http2.max_concurrent_streams {
        check.range("maxConcurrentStreams", streams, 1..=i32::MAX.unsigned_abs());
    }
    if let Some(Http2Keepalive { interval: Some(interval), timeout: Some(timeout), .. }) = http2.connection_keepalive
        && timeout.as_std() >= interval.as_std()
    {
        check.fail_at("connectionKeepalive.timeout", "must be shorter than interval");
    }
}

fn window(check: &mut Check, field: &str, size: Option<Quantity>) {
    if let Some(size) = size {
        check.range(field, size.bytes(), 65_535..=u64::from(i32::MAX.unsigned_abs()));
    }
}

fn client_ip(check: &mut Check, detection: &ClientIpDetection) {
    let set = [detection.x_forwarded_for.is_some(), detection.custom_header.is_some(), detection.direct_source_ip.is_some()];
    if set.iter().filter(|is_set| **is_set).count() != 1 {
        check.fail("needs exactly one of xForwardedFor, customHeader and directSourceIP");
    }
    if let Some(forwarded) = &detection.x_forwarded_for {
        check.at("xForwardedFor", |check| {
            if forwarded.num_trusted_hops.is_some() && !forwarded.trusted_cidrs.is_empty() {
                check.fail_at("trustedCIDRs", "must not be set beside numTrustedHops: keep one of them");
            }
            check.each("trustedCIDRs", &forwarded.trusted_cidrs, |check, cidr| {
                if !is_cidr(cidr) {
                    check.fail(format!("{cidr:?} is not a network: write an address and a length, such as \"10.0.0.0/8\""));
                }
            });
        });
    }
}

/// Whether a text is a network in CIDR notation.
pub(super) fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    match (address.parse(), length.parse::<u8>()) {
        (Ok(std::net::IpAddr::V4(_)), Ok(length)) => length <= 32,
        (Ok(std::net::IpAddr::V6(_)), Ok(length)) => length <= 128,
        _ => false,
    }
}
