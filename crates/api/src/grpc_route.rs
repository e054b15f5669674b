//! GRPCRoute: rules from gRPC calls to backends.

use serde::Deserialize;

use super::header_filter::HeaderFilter;
use super::http_filter::RequestMirror;
use super::http_match::{HeaderMatch, MatchType};
use super::meta::Resource;
use super::names::{GroupName, Hostname, KindName, NamespaceName, ObjectName, SectionName};
use super::port::PortNumber;
use super::refs::{BackendObjectReference, LocalObjectReference, ParentReference, core_group, one, service_kind};
use super::session::SessionPersistence;
use super::unsupported::{Unsupported, unsupported_fields};

/// `gateway.networking.k8s.io` GRPCRoute.
pub type GrpcRoute = Resource<GrpcRouteSpec>;

/// `spec` of a GRPCRoute.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteSpec {
    /// Gateways, ListenerSets and their sections, at most 32.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// At most 16; empty means every host of the listener.
    #[serde(default)]
    pub hostnames: Vec<Hostname>,
    /// At most 16 rules.
    #[serde(default)]
    pub rules: Vec<GrpcRouteRule>,
    /// Attaching without a parent (experimental).
    #[serde(default)]
    pub use_default_gateways: Option<Unsupported>,
}

unsupported_fields!(GrpcRouteSpec,
    "useDefaultGateways" => |spec| spec.use_default_gateways.is_some(),
);

/// Matches of calls, and their filters and backends.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteRule {
    /// Unique within the route.
    #[serde(default)]
    pub name: Option<SectionName>,
    /// Any of them; empty matches every call.
    #[serde(default)]
    pub matches: Vec<GrpcRouteMatch>,
    /// Applied in order, at most 16.
    #[serde(default)]
    pub filters: Vec<GrpcRouteFilter>,
    /// Weighted targets, at most 16.
    #[serde(default)]
    pub backend_refs: Vec<GrpcBackendRef>,
    /// Keeping a client on one backend.
    #[serde(default)]
    pub session_persistence: Option<Box<SessionPersistence>>,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GrpcRouteMatch {
    /// Service and method; any when absent.
    #[serde(default)]
    pub method: Option<GrpcMethodMatch>,
    /// At most 16, all of which must hold.
    #[serde(default)]
    pub headers: Vec<HeaderMatch>,
}

/// A condition on a gRPC call's service and method; at least one of them is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GrpcMethodMatch {
    /// `Exact` by default.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// Fully qualified service, such as `inference.GRPCInferenceService`.
    #[serde(default)]
    pub service: Option<String>,
    /// Method.
    #[serde(default)]
    pub method: Option<String>,
}

/// A weighted target with filters of its own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GrpcBackendRef {
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
    /// Applied to calls that go to this backend, at most 16.
    #[serde(default)]
    pub filters: Vec<GrpcRouteFilter>,
}

impl GrpcBackendRef {
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

/// One step in the handling of a call.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "super::http_filter::HttpRouteFilter")]
pub enum GrpcRouteFilter {
    /// Changes request headers.
    RequestHeaderModifier(HeaderFilter),
    /// Changes response headers.
    ResponseHeaderModifier(HeaderFilter),
    /// Sends a copy elsewhere.
    RequestMirror(RequestMirror),
    /// An object of another API.
    ExtensionRef(LocalObjectReference),
}

/// A filter that only HTTPRoutes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a GRPCRoute has no filter of type {0}: it takes RequestHeaderModifier, ResponseHeaderModifier, RequestMirror and ExtensionRef"
)]
pub struct NotAGrpcFilter(&'static str);

impl TryFrom<super::http_filter::HttpRouteFilter> for GrpcRouteFilter {
    type Error = NotAGrpcFilter;

    fn try_from(filter: super::http_filter::HttpRouteFilter) -> Result<GrpcRouteFilter, NotAGrpcFilter> {
        use super::http_filter::HttpRouteFilter as Http;
        match filter {
            Http::RequestHeaderModifier(headers) => Ok(GrpcRouteFilter::RequestHeaderModifier(headers)),
            Http::ResponseHeaderModifier(headers) => Ok(GrpcRouteFilter::ResponseHeaderModifier(headers)),
            Http::RequestMirror(mirror) => Ok(GrpcRouteFilter::RequestMirror(mirror)),
            Http::ExtensionRef(reference) => Ok(GrpcRouteFilter::ExtensionRef(reference)),
            other => Err(NotAGrpcFilter(other.type_name())),
        }
    }
}
