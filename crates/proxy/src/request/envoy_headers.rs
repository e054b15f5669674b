//! Envoy's own headers, where a listener has them (ClientTrafficPolicy `headers.enableEnvoyHeaders`).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, uri::PathAndQuery};
use pailou_snapshot::Timeouts;

const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// Tells a backend of the path before it was rewritten, and of the time that it has.
pub(super) fn request(headers: &mut HeaderMap, before: Option<&PathAndQuery>, path: &PathAndQuery, timeouts: &Timeouts) {
    if let Some(before) = before.filter(|before| *before != path)
        && let Ok(value) = HeaderValue::try_from(before.as_str())
    {
        headers.insert(ORIGINAL_PATH, value);
    }
    if let Some(time) = timeouts.attempt.or(timeouts.request) {
        headers.insert(EXPECTED_TIMEOUT, millis(time));
    }
}

/// Tells a client how long the backend took to begin its response.
pub(super) fn response(headers: &mut HeaderMap, took: Duration) {
    headers.insert(SERVICE_TIME, millis(took));
}

/// Tells a client that it is a limit that refuses its request.
pub(super) fn rate_limited(headers: &mut HeaderMap) {
    headers.insert(RATE_LIMITED, HeaderValue::from_static("true"));
}

fn millis(time: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
