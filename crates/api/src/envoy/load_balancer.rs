//! How an endpoint is chosen.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::duration::Duration;
use crate::unsupported::Unsupported;

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// The algorithm.
    #[serde(rename = "type")]
    pub kind: LoadBalancerType,
    /// Input of the hash, when the type is `ConsistentHash`.
    #[serde(default)]
    pub consistent_hash: Option<ConsistentHash>,
    /// Sparing endpoints that are new; with `RoundRobin` and `LeastRequest`.
    #[serde(default)]
    pub slow_start: Option<SlowStart>,
    /// Zones.
    #[serde(default)]
    pub zone_aware: Option<Unsupported>,
    /// An endpoint named by a header.
    #[serde(default)]
    pub endpoint_override: Option<Unsupported>,
    /// Load as backends report it.
    #[serde(default)]
    pub backend_utilization: Option<Unsupported>,
    /// Envoy's dynamic modules.
    #[serde(default)]
    pub dynamic_module: Option<Unsupported>,
}

/// An algorithm of load balancing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum LoadBalancerType {
    /// By a hash of the request.
    ConsistentHash,
    /// The less loaded of two.
    #[default]
    LeastRequest,
    /// Any.
    Random,
    /// In turn.
    RoundRobin,
    /// By load as backends report it; not supported.
    BackendUtilization,
    /// By a dynamic module; not supported.
    DynamicModule,
}

/// Input of the hash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsistentHash {
    /// The part of the request.
    #[serde(rename = "type")]
    pub kind: ConsistentHashType,
    /// The header, when the type is `Header`.
    #[serde(default)]
    pub header: Option<HashName>,
    /// The headers, when the type is `Headers`.
    #[serde(default)]
    pub headers: Vec<HashName>,
    /// The cookie, when the type is `Cookie`.
    #[serde(default)]
    pub cookie: Option<HashCookie>,
    /// The query parameters, when the type is `QueryParams`.
    #[serde(default)]
    pub query_params: Vec<HashName>,
    /// Size of the Maglev table, 2 to 5,000,011; 65537 by default.
    #[serde(default = "table_size")]
    pub table_size: u32,
}

fn table_size() -> u32 {
    65_537
}

/// Part of the request that is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum ConsistentHashType {
    /// The client's address.
    SourceIP,
    /// A header.
    Header,
    /// Several headers.
    Headers,
    /// A cookie.
    Cookie,
    /// Query parameters.
    QueryParams,
}

/// A header's or query parameter's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct HashName {
    /// The name.
    pub name: String,
}

/// A cookie; the gateway makes one when `ttl` is set and the request has none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HashCookie {
    /// The cookie's name.
    pub name: String,
    /// How long a cookie that the gateway makes lives; zero means the session.
    #[serde(default)]
    pub ttl: Option<Duration>,
    /// Further attributes, such as `SameSite`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// Sparing endpoints that are new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SlowStart {
    /// How long an endpoint is new.
    pub window: Duration,
}
