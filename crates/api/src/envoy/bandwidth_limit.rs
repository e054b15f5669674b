//! `bandwidthLimit`: bytes in time, to and from backends.

use serde::Deserialize;

use crate::quantity::Quantity;

/// Limits of bandwidth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct BandwidthLimit {
    /// Of requests' bodies.
    #[serde(default)]
    pub request: Option<RequestBandwidthLimit>,
    /// Of responses' bodies.
    #[serde(default)]
    pub response: Option<ResponseBandwidthLimit>,
}

/// A limit of requests' bodies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RequestBandwidthLimit {
    /// Bytes in time.
    pub limit: BandwidthLimitValue,
}

/// A limit of responses' bodies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseBandwidthLimit {
    /// Bytes in time.
    pub limit: BandwidthLimitValue,
    /// Trailers of responses that say how long they were delayed; none when absent.
    #[serde(default)]
    pub response_trailers: Option<BandwidthLimitTrailers>,
}

/// Bytes in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct BandwidthLimitValue {
    /// Bytes, at least 1024 in a second.
    pub value: Quantity,
    /// The time.
    pub unit: BandwidthLimitUnit,
}

/// Unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum BandwidthLimitUnit {
    Second,
    Minute,
    Hour,
}

/// Trailers that say how long a request and its response took and were delayed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct BandwidthLimitTrailers {
    /// Stands before the trailers' names, with a hyphen in between.
    #[serde(default)]
    pub prefix: Option<String>,
}
