//! HTTPRoute: rules from requests to backends.

use serde::Deserialize;

use super::duration::Duration;
use super::http_filter::HttpRouteFilter;
use super::http_match::HttpRouteMatch;
use super::meta::Resource;
use super::names::{GroupName, Hostname, KindName, NamespaceName, ObjectName, SectionName};
use super::port::PortNumber;
use super::refs::{BackendObjectReference, ParentReference, core_group, one, service_kind};
use super::session::SessionPersistence;
use super::unsupported::{Unsupported, unsupported_fields};

/// `gateway.networking.k8s.io` HTTPRoute.
pub type HttpRoute = Resource<HttpRouteSpec>;

/// `spec` of an HTTPRoute.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// Gateways, ListenerSets and their sections, at most 32.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// At most 16; empty means every host of the listener.
    #[serde(default)]
    pub hostnames: Vec<Hostname>,
    /// 1 to 16 rules; by default one that matches everything and has no backend.
    #[serde(default = "default_rules")]
    pub rules: Vec<HttpRouteRule>,
    /// Attaching without a parent (experimental).
    #[serde(default)]
    pub use_default_gateways: Option<Unsupported>,
}

unsupported_fields!(HttpRouteSpec,
    "useDefaultGateways" => |spec| spec.use_default_gateways.is_some(),
);

fn default_rules() -> Vec<HttpRouteRule> {
    vec![HttpRouteRule::default()]
}

/// Matches of requests, and their filters and backends.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Unique within the route.
    #[serde(default)]
    pub name: Option<SectionName>,
    /// Any of them; by default one, the path prefix `/`.
    #[serde(default = "default_matches")]
    pub matches: Vec<HttpRouteMatch>,
    /// Applied in order, at most 16.
    #[serde(default)]
    pub filters: Vec<HttpRouteFilter>,
    /// Weighted targets, at most 16.
    #[serde(default)]
    pub backend_refs: Vec<HttpBackendRef>,
    /// Timeouts of a request and of one attempt.
    #[serde(default)]
    pub timeouts: Option<HttpRouteTimeouts>,
    /// When to try again; absent means never.
    #[serde(default)]
    pub retry: Option<Box<HttpRouteRetry>>,
    /// Keeping a client on one backend.
    #[serde(default)]
    pub session_persistence: Option<Box<SessionPersistence>>,
}

fn default_matches() -> Vec<HttpRouteMatch> {
    vec![HttpRouteMatch::default()]
}

impl Default for HttpRouteRule {
    fn default() -> HttpRouteRule {
        HttpRouteRule {
            name: None,
            matches: default_matches(),
            filters: Vec::new(),
            backend_refs: Vec::new(),
            timeouts: None,
            retry: None,
            session_persistence: None,
        }
    }
}

/// A weighted target with filters of its own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HttpBackendRef {
    /// Group; the core group by default.
    #[serde(default = "core_group")]
    pub group: GroupName,
    /// Kind; `Service` by default.
    #[serde(default = "service_kind")]
    pub kind: KindName,
    /// Namespace; the route's own when absent.
    #[serde(default)]
    pub namespace: Option<NamespaceName>,
    /// Name.
    pub name: ObjectName,
    /// Port; always there when the kind is Service.
    #[serde(default)]
    pub port: Option<PortNumber>,
    /// Share among the rule's backends, 0 to 1,000,000; 1 by default.
    #[serde(default = "one")]
    pub weight: u32,
    /// Applied to requests that go to this backend, at most 16.
    #[serde(default)]
    pub filters: Vec<HttpRouteFilter>,
}

impl HttpBackendRef {
    /// The object, without weight and filters.
    pub fn target(&self) -> BackendObjectReference {
        BackendObjectReference {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            port: self.port,
        }
    }
}

/// Timeouts of an HTTPRoute's rule; zero switches one off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// From the request to the end of the response, all attempts together.
    #[serde(default)]
    pub request: Option<Duration>,
    /// One attempt.
    #[serde(default)]
    pub backend_request: Option<Duration>,
}

/// When a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HttpRouteRetry {
    /// Statuses that ask for another attempt, 400 to 599.
    #[serde(default)]
    pub codes: Vec<u16>,
    /// How many retries after the first attempt; 1 by default, 0 for none.
    #[serde(default = "one")]
    pub attempts: u32,
    /// The least time between attempts.
    #[serde(default)]
    pub backoff: Option<Duration>,
}
