//! How a listener treats its clients: what ClientTrafficPolicy sets.

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use pailou_auth::Cidr;

use super::{HeaderEdit, PathNormalization};

/// Settings of a listener, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientPolicy {
    /// Largest request body that is held for routing, in bytes; a longer one is answered 413. Pass-through traffic is not
    /// bounded by it. Default: 64 MiB.
    pub buffer_limit: u64,
    /// Clocks of connections and requests.
    pub timeouts: ClientTimeouts,
    /// Source of the client's address.
    pub client_address: ClientAddress,
    /// HTTP/2 settings towards clients.
    pub http2: Http2Settings,
    /// Changes to a request's path before it is matched.
    pub path: PathNormalization,
    /// Most connections open at once on the listener's socket; `None` is unbounded.
    pub max_connections: Option<u32>,
    /// Time for which a connection beyond that stays open, without an answer.
    pub close_delay: Duration,
    /// Requests that a connection carries; the last one's response closes it (HTTP/2: GOAWAY). `None` is unbounded.
    pub max_requests: Option<u32>,
    /// Age after which a connection takes no new request and closes once it has none. `None` is unbounded.
    pub max_connection_age: Option<Duration>,
    /// Probes of connections, where there is no traffic.
    pub tcp_keepalive: Option<ClientKeepalive>,
    /// Whether load balancers say by the PROXY protocol who their clients are.
    pub proxy_protocol: Option<ClientProxyProtocol>,
    /// Whether the connection's other end is appended to `X-Forwarded-For`. Default: true.
    pub appends_forwarded_for: bool,
    /// Whether a dot at the end of a request's host is removed before the host is matched. Default: false.
    pub strips_host_dot: bool,
    /// A path that the gateway itself answers with 200 while it is serving.
    pub health_check_path: Option<Box<str>>,
    /// Treatment of `X-Forwarded-Client-Cert`.
    pub client_cert_header: ForwardedClientCert,
    /// Whether requests and responses bear Envoy's own headers (`x-envoy-upstream-service-time` and its like). Default: false.
    pub envoy_headers: bool,
    /// Treatment of headers whose names have underscores.
    pub underscored_headers: UnderscoredHeaders,
    /// Treatment of `X-Request-Id`.
    pub request_ids: RequestIds,
    /// Edits made to requests before they are matched.
    pub early_request_headers: Option<HeaderEdit>,
    /// Responses say what limits leave, unless a limit's rule says otherwise. Default: true.
    pub rate_limit_headers: bool,
    /// Edits made to responses last of all.
    pub late_response_headers: Option<Arc<HeaderEdit>>,
}

impl Default for ClientPolicy {
    fn default() -> Self {
        Self {
            buffer_limit: 64 << 20,
            timeouts: ClientTimeouts::default(),
            client_address: ClientAddress::Connection,
            http2: Http2Settings::default(),
            path: PathNormalization::default(),
            max_connections: None,
            close_delay: Duration::ZERO,
            max_requests: None,
            max_connection_age: None,
            tcp_keepalive: None,
            appends_forwarded_for: true,
            strips_host_dot: false,
            envoy_headers: false,
            proxy_protocol: None,
            health_check_path: None,
            client_cert_header: ForwardedClientCert::default(),
            underscored_headers: UnderscoredHeaders::default(),
            request_ids: RequestIds::default(),
            early_request_headers: None,
            rate_limit_headers: true,
            late_response_headers: None,
        }
    }
}

/// TCP keepalive of clients' connections; the system's defaults where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientKeepalive {
    /// Idle time before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Unanswered probes until the connection is dead.
    pub probes: Option<u32>,
}

/// Treatment of a client's headers whose names have underscores. Whatever it is, one never hides another of the same name with hyphens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderscoredHeaders {
    /// They pass. Envoy Gateway's default is `Reject`; clients of model services send such names.
    #[default]
    Allow,
    /// The request is refused with 400.
    Reject,
    /// They are removed.
    Drop,
}

/// Treatment of `X-Request-Id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestIds {
    /// A client's is kept, and one is made where there is none. Envoy Gateway's default is `Generate`.
    #[default]
    PreserveOrGenerate,
    /// A client's is kept, none is made.
    Preserve,
    /// One is made, whatever the client says.
    Generate,
    /// A client's is removed, none is made.
    Disable,
}

/// Clocks towards clients. `None` never runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// A connection of a TLS or TCP listener without a byte in either direction is closed after this
    /// (`timeout.tcp.idleTimeout`). Default: 1 h.
    pub connection_idle: Option<Duration>,
    /// From a connection's opening or the last response to the end of the next request's head, while a request is under way.
    /// Default: 60 s.
    pub request_head: Option<Duration>,
    /// From the request's head to the end of its body, where the body is read for routing
    /// (`timeout.http.requestReceivedTimeout`). Default: none.
    pub request_received: Option<Duration>,
    /// A connection without a request is closed after this (`timeout.http.idleTimeout`). Default: 1 h.
    pub idle: Option<Duration>,
    /// A request ends when for this long no byte of its body or its response's comes, or the client takes none of what does
    /// (`timeout.http.streamIdleTimeout`). Default: 1 h, not Envoy's 5 min: a model may think for longer without a word.
    pub stream_idle: Option<Duration>,
    /// A request ends after this, whatever else holds (`connectionLimit.maxStreamDuration`). Default: none.
    pub max_stream: Option<Duration>,
    /// A TLS handshake takes no longer than this. Default: 10 s.
    pub tls_handshake: Option<Duration>,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            connection_idle: Some(hour),
            request_head: Some(Duration::from_secs(60)),
            request_received: None,
            idle: Some(hour),
            stream_idle: Some(hour),
            max_stream: None,
            tls_handshake: Some(Duration::from_secs(10)),
        }
    }
}

/// Source of the client's address (`clientIPDetection`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// The peer of the connection.
    Connection,
    /// `X-Forwarded-For`, counted from the right over this many trusted proxies.
    TrustedHops(u32),
    /// `X-Forwarded-For`, from the right, the first address outside these networks (address, prefix length).
    TrustedNetworks(Vec<Cidr>),
    /// A header that holds just the address; without it the connection's peer, or 403 where it is required.
    Header {
        /// The header's name.
        name: HeaderName,
        /// Whether a request without a valid one is refused (`failClosed`).
        required: bool,
    },
}

/// Connections that begin with a PROXY protocol header (ClientTrafficPolicy `proxyProtocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProxyProtocol {
    /// All; others are closed.
    Required,
    /// Those that have one. Then whoever connects may claim any address.
    Optional,
}

/// Treatment of `X-Forwarded-Client-Cert` (ClientTrafficPolicy `headers.xForwardedClientCert`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardedClientCert {
    /// Treatment of a client's header.
    pub mode: ForwardedClientCertMode,
    /// Parts of the certificate that the gateway writes into it.
    pub details: ClientCertDetails,
}

/// Treatments of a client's `X-Forwarded-Client-Cert`. Without a verified client certificate all but the last remove it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedClientCertMode {
    /// It is removed. The default.
    #[default]
    Sanitize,
    /// It passes.
    ForwardOnly,
    /// It passes, with the client's certificate appended.
    AppendForward,
    /// The client's certificate takes its place.
    SanitizeSet,
    /// It passes, whoever sends it.
    AlwaysForwardOnly,
}

/// Parts of a certificate in `X-Forwarded-Client-Cert`, beside `Hash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCertDetails {
    /// The certificate in PEM.
    pub cert: bool,
    /// The chain in PEM.
    pub chain: bool,
    /// Its subject.
    pub subject: bool,
    /// Its URIs.
    pub uri: bool,
    /// Its DNS names.
    pub dns: bool,
}

/// HTTP/2 towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Settings {
    /// Flow-control window of a stream, bytes. Default: 64 KiB.
    pub initial_stream_window: u32,
    /// Flow-control window of a connection, bytes. Default: 1 MiB.
    pub initial_connection_window: u32,
    /// Streams open at once. Default: 100.
    pub max_concurrent_streams: u32,
    /// Time between pings, with or without streams. Default: 30 s while there are streams.
    pub ping_interval: Option<Duration>,
    /// Time for an answer to a ping. Default: 10 s.
    pub ping_timeout: Option<Duration>,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            initial_stream_window: 64 << 10,
            initial_connection_window: 1 << 20,
            max_concurrent_streams: 100,
            ping_interval: None,
            ping_timeout: None,
        }
    }
}
