//! GatewayClass: which controller serves a class of Gateways.

use serde::Deserialize;

use super::meta::Resource;
use super::refs::ObjectReference;

/// `gateway.networking.k8s.io` GatewayClass (cluster-scoped).
pub type GatewayClass = Resource<GatewayClassSpec>;

/// `spec` of a GatewayClass.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// Domain-prefixed path of the controller, such as `example.com/controller`.
    pub controller_name: String,
    /// Further parameters, implementation-specific.
    #[serde(default)]
    pub parameters_ref: Option<ObjectReference>,
    /// Free text, at most 64 characters.
    #[serde(default)]
    pub description: Option<String>,
}
