//! ListenerSet: listeners that are added to a Gateway.

use serde::Deserialize;

use super::listener::{Listener, has_tls_options};
use super::meta::Resource;
use super::names::{GroupName, KindName, NamespaceName, ObjectName};
use super::refs::{gateway_group, gateway_kind};
use super::unsupported::unsupported_fields;

/// `gateway.networking.k8s.io` ListenerSet.
pub type ListenerSet = Resource<ListenerSetSpec>;

/// `spec` of a ListenerSet.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// The Gateway.
    pub parent_ref: ParentGatewayReference,
    /// 1 to 64 listeners with distinct names.
    pub listeners: Vec<Listener>,
}

unsupported_fields!(ListenerSetSpec,
    "listeners[].tls.options" => |spec| has_tls_options(&spec.listeners),
);

/// The Gateway that a ListenerSet extends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ParentGatewayReference {
    /// Gateway API's group by default.
    #[serde(default = "gateway_group")]
    pub group: GroupName,
    /// `Gateway` by default.
    #[serde(default = "gateway_kind")]
    pub kind: KindName,
    /// The ListenerSet's own namespace when absent.
    #[serde(default)]
    pub namespace: Option<NamespaceName>,
    /// Name.
    pub name: ObjectName,
}
