//! Limits of bandwidth of a BackendTrafficPolicy.

use http::HeaderName;

/// Bytes in time of bodies to and from backends (BackendTrafficPolicy `bandwidthLimit`). All requests of a rule share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BandwidthLimit {
    /// Bytes a second of requests' bodies, at least 1024.
    pub request: Option<u64>,
    /// Bytes a second of responses' bodies, at least 1024.
    pub response: Option<u64>,
    /// Trailers for responses that took their time.
    pub trailers: Option<BandwidthTrailers>,
}

/// Names of trailers, each with a time in ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BandwidthTrailers {
    /// Passage of the request's body.
    pub request_delay: HeaderName,
    /// Passage of the response's body.
    pub response_delay: HeaderName,
    /// Part of the request's passage in which the limit held it up.
    pub request_filter_delay: HeaderName,
    /// Part of the response's passage in which the limit held it up.
    pub response_filter_delay: HeaderName,
}
