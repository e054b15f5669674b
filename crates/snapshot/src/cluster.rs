//! Groups of endpoints that requests are sent to.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use http::{HeaderName, StatusCode};

use super::{ConnectionSettings, EndpointRole, Name, Pool, UpstreamTls};

/// An index into [`super::Snapshot::clusters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u32);

/// A group of endpoints, and how to speak to them.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its identity across snapshots.
    pub key: ClusterKey,
    /// Its object in the configuration.
    pub kind: ClusterKind,
    /// Protocol towards its endpoints.
    pub protocol: Protocol,
    /// TLS towards it, or why TLS that was asked for cannot be had; `Ok(None)` is plaintext because nobody asked.
    pub tls: Result<Option<Arc<UpstreamTls>>, super::Failure>,
    /// How an endpoint is chosen; for a pool, by the picker.
    pub load_balancer: LoadBalancer,
    /// How endpoints' health is watched.
    pub health: HealthChecks,
    /// TCP keep-alive probes on upstream connections start after this idle time, if at all.
    pub tcp_keepalive: Option<Duration>,
    /// Header of the PROXY protocol that each of its connections begins with, if any.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// How its connections are made.
    pub connection: ConnectionSettings,
}

/// Version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyProtocolVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// A cluster's identity: run-time state with equal keys carries over from one snapshot to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterKey {
    /// Its endpoints' cell.
    pub endpoints: EndpointKey,
    /// Digest of protocol, TLS, balancing and health settings: tells apart clusters with the same endpoints.
    pub variant: u64,
}

/// The configuration's object behind a cluster.
#[derive(Clone, Debug)]
pub enum ClusterKind {
    /// A Service's port.
    Service,
    /// A Backend: a service outside the cluster.
    Backend,
    /// An InferencePool.
    Pool(Arc<Pool>),
}

/// The identity of a group of endpoints. Endpoints live apart from the snapshot, so that pods come and go without compiling routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointKey {
    /// A Service's TCP port.
    Service(Name, u16),
    /// A Service's UDP port.
    UdpService(Name, u16),
    /// A Backend.
    Backend(Name),
    /// An InferencePool, all its target ports.
    Pool(Name),
}

impl EndpointKey {
    /// The name of the object.
    pub fn name(&self) -> &Name {
        match self {
            Self::Service(name, _) | Self::UdpService(name, _) | Self::Backend(name) | Self::Pool(name) => name,
        }
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name, port) => write!(f, "service/{name}:{port}"),
            Self::UdpService(name, port) => write!(f, "service/{name}:{port}/udp"),
            Self::Backend(name) => write!(f, "backend/{name}"),
            Self::Pool(name) => write!(f, "pool/{name}"),
        }
    }
}

/// The endpoints of every group.
pub type Endpoints = BTreeMap<EndpointKey, Arc<[Endpoint]>>;

/// One endpoint: ready, not terminating.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Its address.
    pub address: Address,
    /// Its name in logs: a pod's name, or the address.
    pub name: Arc<str>,
    /// 0 is used first; 1 and above are fallbacks.
    pub priority: u8,
    /// Stages of requests that it serves, in a pool that tells them apart.
    pub role: EndpointRole,
    /// Context lengths that it is for; `None`: any.
    pub context: Option<ContextRange>,
}

/// Tokens of prompts that an endpoint is for, both bounds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContextRange {
    /// Fewest.
    pub min: u32,
    /// Most.
    pub max: u32,
}

/// Address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port.
    Socket(SocketAddr),
    /// A DNS name, resolved and re-resolved by the proxy, all its addresses tried.
    Dns {
        /// The name.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(Arc<Path>),
}

impl Address {
    /// The IP address and port, where it is one: a pool's endpoints all have one.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Dns { .. } | Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Dns { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Protocol towards a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 (WebSocket included).
    Http1,
    /// HTTP/2: by ALPN within TLS, by prior knowledge (h2c) without.
    Http2,
    /// The clients' own protocol, unknown here: bytes or datagrams. (The gateway's own requests, such as health checks, go
    /// in HTTP/1.1.)
    Opaque,
}

/// How an endpoint is chosen. Default: least requests of two random choices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoadBalancer {
    /// The fewer requests under way, of two picked at random.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The same source leads to the same endpoint (Maglev).
    ConsistentHash {
        /// Sources of the hash; a request that has none of them goes to an endpoint at random.
        source: HashSource,
        /// The table's size, a prime. Default: 65537.
        table_size: u32,
    },
}

/// Source of a consistent hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HashSource {
    /// The client's address.
    SourceIp,
    /// The values of these headers.
    Headers(Vec<HeaderName>),
    /// The value of a cookie; made where the client has none.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Its life; `None` ends with the browser's session.
        ttl: Option<Duration>,
        /// Further attributes (`SameSite`, `Secure`), as they are to be written.
        attributes: Vec<(Arc<str>, Option<Arc<str>>)>,
    },
    /// The values of these query parameters.
    QueryParams(Vec<Arc<str>>),
}

/// How endpoints' health is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HealthChecks {
    /// By probes.
    pub active: Option<ActiveCheck>,
    /// By what requests meet.
    pub passive: Option<PassiveCheck>,
    /// Below this share of healthy endpoints all are used, percent; 0 never. Default: 50.
    pub panic_threshold: Option<u8>,
}

/// Probes of each endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActiveCheck {
    /// Default: 1 s.
    pub timeout: Duration,
    /// Default: 3 s.
    pub interval: Duration,
    /// Failures in a row until an endpoint is left out. Default: 3.
    pub unhealthy_threshold: u32,
    /// Successes in a row until it is back. Default: 1.
    pub healthy_threshold: u32,
    /// The request to send.
    pub probe: HealthProbe,
}

/// Request of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HealthProbe {
    /// An HTTP request.
    Http {
        /// `Host`; the endpoint's address where absent.
        hostname: Option<Arc<str>>,
        /// The path.
        path: Arc<str>,
        /// The method. Default: GET.
        method: http::Method,
        /// Statuses that count as healthy. Default: 200.
        statuses: Vec<StatusCode>,
    },
    /// A connection that opens.
    Tcp,
    /// gRPC's health service.
    Grpc {
        /// The service asked about; empty is the server as a whole.
        service: Arc<str>,
    },
}

/// Ejection of endpoints that fail (Envoy's outlier detection).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PassiveCheck {
    /// How often returns are considered. Default: 3 s.
    pub interval: Duration,
    /// 5xx in a row until an endpoint is ejected; `None` never. Default: 5.
    pub consecutive_5xx: Option<u32>,
    /// 502, 503, 504 in a row until it is ejected; `None` never.
    pub consecutive_gateway_errors: Option<u32>,
    /// Time out, times the number of ejections. Default: 30 s.
    pub base_ejection: Duration,
    /// Most endpoints out at once, percent (one may always be). Default: 10.
    pub max_ejection_percent: u8,
}
