//! Gateway: addresses and listeners.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::listener::{Listener, has_tls_options};
use super::meta::Resource;
use super::port::PortNumber;
use super::refs::{FromNamespaces, LocalObjectReference, ObjectReference, SecretObjectReference};
use super::selector::LabelSelector;
use super::unsupported::{Unsupported, unsupported_fields};

/// `gateway.networking.k8s.io` Gateway.
pub type Gateway = Resource<GatewaySpec>;

/// `spec` of a Gateway.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Name of the GatewayClass.
    pub gateway_class_name: String,
    /// 1 to 64 listeners with distinct names.
    pub listeners: Vec<Listener>,
    /// Requested addresses, at most 16.
    #[serde(default)]
    pub addresses: Vec<GatewayAddress>,
    /// Labels, annotations and parameters for what is provisioned.
    #[serde(default)]
    pub infrastructure: Option<GatewayInfrastructure>,
    /// ListenerSets that may attach; none by default.
    #[serde(default)]
    pub allowed_listeners: AllowedListeners,
    /// Client certificates, asked of clients and shown to backends.
    #[serde(default)]
    pub tls: Option<GatewayTls>,
    /// Whether routes without a parent attach here (experimental).
    #[serde(default)]
    pub default_scope: Option<Unsupported>,
}

unsupported_fields!(GatewaySpec,
    "defaultScope" => |spec| spec.default_scope.is_some(),
    "listeners[].tls.options" => |spec| has_tls_options(&spec.listeners),
);

/// A requested address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GatewayAddress {
    /// `IPAddress` (the default), `Hostname`, `NamedAddress` or a domain-prefixed name.
    #[serde(rename = "type", default = "ip_address")]
    pub kind: String,
    /// The address; empty or absent asks for any of that type.
    #[serde(default)]
    pub value: Option<String>,
    /// From where the address must be reachable: `Cluster`, or a domain-prefixed name; empty or absent says nothing (experimental).
    #[serde(default)]
    pub routability: Option<String>,
}

fn ip_address() -> String {
    "IPAddress".to_owned()
}

/// Metadata of a Gateway's provisioned objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayInfrastructure {
    /// At most 8 labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// At most 16 annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Implementation-specific parameters.
    #[serde(default)]
    pub parameters_ref: Option<LocalObjectReference>,
}

/// ListenerSets that may attach to a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AllowedListeners {
    /// Their namespaces.
    #[serde(default)]
    pub namespaces: ListenerNamespaces,
}

/// Namespaces whose ListenerSets may attach.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ListenerNamespaces {
    /// `None` by default.
    #[serde(default = "from_none")]
    pub from: FromNamespaces,
    /// Labels of the namespaces when `from` is `Selector`.
    #[serde(default)]
    pub selector: Option<LabelSelector>,
}

fn from_none() -> FromNamespaces {
    FromNamespaces::None
}

impl Default for ListenerNamespaces {
    fn default() -> ListenerNamespaces {
        ListenerNamespaces { from: FromNamespaces::None, selector: None }
    }
}

/// TLS settings of a whole Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GatewayTls {
    /// Towards backends.
    #[serde(default)]
    pub backend: Option<GatewayBackendTls>,
    /// Towards clients.
    #[serde(default)]
    pub frontend: Option<FrontendTls>,
}

/// TLS towards backends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayBackendTls {
    /// Certificate shown to backends that ask for one.
    #[serde(default)]
    pub client_certificate_ref: Option<SecretObjectReference>,
}

/// Validation of clients' certificates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTls {
    /// For every HTTPS port that has no entry of its own.
    #[serde(rename = "default")]
    pub fallback: FrontendTlsConfig,
    /// For single ports, at most 64.
    #[serde(default)]
    pub per_port: Vec<FrontendTlsPort>,
}

/// Validation of clients' certificates on one port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FrontendTlsPort {
    /// The listeners' port.
    pub port: PortNumber,
    /// The settings for it.
    pub tls: FrontendTlsConfig,
}

/// Whether and how clients' certificates are validated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FrontendTlsConfig {
    /// Absent: the gateway asks for no certificate.
    #[serde(default)]
    pub validation: Option<FrontendValidation>,
}

/// How clients' certificates are validated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendValidation {
    /// Trust anchors: 1 to 16 ConfigMaps or other kinds.
    pub ca_certificate_refs: Vec<ObjectReference>,
    /// Whether a client without a valid certificate is turned away; it is by default.
    #[serde(default)]
    pub mode: FrontendValidationMode,
}

/// Treatment of a client without a valid certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum FrontendValidationMode {
    /// The handshake fails.
    #[default]
    AllowValidOnly,
    /// The connection is accepted.
    AllowInsecureFallback,
}
