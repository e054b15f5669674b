//! Connections to a cluster's endpoints.

use std::time::Duration;

/// How connections to a cluster's endpoints are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectionSettings {
    /// Names to addresses.
    pub dns: DnsSettings,
    /// HTTP/2.
    pub http2: UpstreamHttp2,
    /// Requests go in the HTTP version of their client (`useClientProtocol`), and not in the cluster's.
    pub follows_client: bool,
    /// Connections of a worker to an endpoint, in percent of those that requests need now, above 100 (Envoy's
    /// `per_upstream_preconnect_ratio`). `None` opens none ahead.
    pub preconnect: Option<u16>,
}

/// Resolution of endpoints' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DnsSettings {
    /// Families of addresses.
    pub family: DnsFamily,
    /// How long an answer holds; `None`: as long as it says.
    pub refresh: Option<Duration>,
}

/// Families of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DnsFamily {
    /// All addresses, families in turn.
    #[default]
    Both,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// IPv4, or IPv6 where there is none.
    PreferV4,
    /// IPv6, or IPv4 where there is none.
    PreferV6,
}

/// HTTP/2 towards endpoints. `None` leaves the gateway's own defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpstreamHttp2 {
    /// Flow-control window of a stream, bytes. Default: 256 KiB.
    pub initial_stream_window: Option<u32>,
    /// Flow-control window of a connection, bytes. Default: 16 MiB.
    pub initial_connection_window: Option<u32>,
    /// Streams open at once on a connection, where the endpoint allows as many. Default: as many as it allows.
    pub max_concurrent_streams: Option<u32>,
    /// Time between pings, with or without streams. Default: 30 s while there are streams.
    pub ping_interval: Option<Duration>,
    /// Time for an answer to a ping. Default: 10 s.
    pub ping_timeout: Option<Duration>,
}
