//! TLSRoute, TCPRoute and UDPRoute: whole connections to backends.

use serde::Deserialize;

use super::meta::Resource;
use super::names::{Hostname, SectionName};
use super::refs::{BackendRef, ParentReference};
use super::unsupported::{Unsupported, unsupported_fields};

/// `gateway.networking.k8s.io` TLSRoute.
pub type TlsRoute = Resource<TlsRouteSpec>;

/// `gateway.networking.k8s.io` TCPRoute.
pub type TcpRoute = Resource<TcpRouteSpec>;

/// `gateway.networking.k8s.io` UDPRoute.
pub type UdpRoute = Resource<UdpRouteSpec>;

/// `spec` of a TLSRoute.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteSpec {
    /// Gateways, ListenerSets and their sections, at most 32.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// Server names; required since v1alpha3, empty in v1alpha2 means all.
    #[serde(default)]
    pub hostnames: Vec<Hostname>,
    /// Exactly one rule; up to 16 in v1alpha2.
    pub rules: Vec<ConnectionRule>,
    /// Attaching without a parent (experimental).
    #[serde(default)]
    pub use_default_gateways: Option<Unsupported>,
}

/// `spec` of a TCPRoute.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpRouteSpec {
    /// Gateways, ListenerSets and their sections, at most 32.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// Exactly one rule; up to 16 in v1alpha2.
    pub rules: Vec<ConnectionRule>,
    /// Attaching without a parent (experimental).
    #[serde(default)]
    pub use_default_gateways: Option<Unsupported>,
}

/// `spec` of a UDPRoute.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UdpRouteSpec {
    /// Gateways, ListenerSets and their sections, at most 32.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// Exactly one rule; up to 16 in v1alpha2.
    pub rules: Vec<ConnectionRule>,
    /// Attaching without a parent (experimental).
    #[serde(default)]
    pub use_default_gateways: Option<Unsupported>,
}

unsupported_fields!(TlsRouteSpec, "useDefaultGateways" => |spec| spec.use_default_gateways.is_some());
unsupported_fields!(TcpRouteSpec, "useDefaultGateways" => |spec| spec.use_default_gateways.is_some());
unsupported_fields!(UdpRouteSpec, "useDefaultGateways" => |spec| spec.use_default_gateways.is_some());

/// Backends of connections.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRule {
    /// Unique within the route.
    #[serde(default)]
    pub name: Option<SectionName>,
    /// 1 to 16 weighted targets.
    pub backend_refs: Vec<BackendRef>,
}
