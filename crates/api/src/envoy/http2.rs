//! HTTP/2 settings.

use serde::Deserialize;

use crate::duration::Duration;
use crate::quantity::Quantity;
use crate::unsupported::Unsupported;

/// HTTP/2 settings of one side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Http2Settings {
    /// A stream's first window, 65535 to 2^31-1 bytes.
    #[serde(default)]
    pub initial_stream_window_size: Option<Quantity>,
    /// A connection's first window, 65535 to 2^31-1 bytes.
    #[serde(default)]
    pub initial_connection_window_size: Option<Quantity>,
    /// 1 to 2^31-1; 100 when absent.
    #[serde(default)]
    pub max_concurrent_streams: Option<u32>,
    /// Scope of the error that a malformed message causes.
    #[serde(default)]
    pub on_invalid_message: Option<Unsupported>,
    /// Pings.
    #[serde(default)]
    pub connection_keepalive: Option<Http2Keepalive>,
}

/// Pings of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Http2Keepalive {
    /// Time between pings.
    #[serde(default)]
    pub interval: Option<Duration>,
    /// Time for an answer, shorter than `interval`.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Random part of the interval, in percent.
    #[serde(default)]
    pub interval_jitter: Option<Unsupported>,
    /// Idle time after which a ping comes before the next request.
    #[serde(default)]
    pub idle_interval: Option<Unsupported>,
}
