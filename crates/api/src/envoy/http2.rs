//! HTTP/2 settings.

use serde::Deserialize;

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
    pub connection_keepalive: Option<Unsupported>,
}
