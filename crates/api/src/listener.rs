//! Listeners, of Gateways and of ListenerSets.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::external_auth::ExternalAuth;
use super::names::{GroupName, Hostname, KindName, SectionName};
use super::port::PortNumber;
use super::refs::{FromNamespaces, SecretObjectReference, gateway_group};
use super::selector::LabelSelector;
use super::unsupported::Unsupported;

/// A port, a protocol and what may attach to them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Unique among its siblings.
    pub name: SectionName,
    /// Absent: every host.
    #[serde(default)]
    pub hostname: Option<Hostname>,
    /// The port to bind.
    pub port: PortNumber,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP` or another implementation's name.
    pub protocol: Protocol,
    /// Certificates, for HTTPS and TLS.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Routes that may attach; those of the same namespace by default.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
    /// Filters before routing (experimental).
    #[serde(default)]
    pub filters: ListenerFilters,
}

/// Filters that a request passes before a route is chosen for it (GEP-5224).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ListenerFilters {
    /// At most 16, in their order.
    #[serde(default)]
    pub requests: Vec<ListenerFilter>,
}

/// A filter before routing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerFilter {
    /// `ExternalAuth` or `ExtensionRef`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Authorization server for the request.
    #[serde(default)]
    pub external_auth: Option<ExternalAuth>,
    /// An implementation's own filter.
    #[serde(default)]
    pub extension_ref: Option<Unsupported>,
}

/// Whether any listener sets options of TLS, which are each implementation's own: there are none here.
pub fn has_tls_options(listeners: &[Listener]) -> bool {
    listeners.iter().any(|listener| listener.tls.as_ref().is_some_and(|tls| !tls.options.is_empty()))
}

/// Protocol of a listener.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
pub enum Protocol {
    /// Cleartext HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// TLS, terminated or passed through.
    Tls,
    /// A byte stream.
    Tcp,
    /// Datagrams.
    Udp,
    /// A protocol that is not Gateway API's own.
    Other(String),
}

impl Protocol {
    /// The name as it is written in a listener.
    pub fn as_str(&self) -> &str {
        match self {
            Protocol::Http => "HTTP",
            Protocol::Https => "HTTPS",
            Protocol::Tls => "TLS",
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Other(name) => name,
        }
    }
}

impl From<String> for Protocol {
    fn from(name: String) -> Protocol {
        match name.as_str() {
            "HTTP" => Protocol::Http,
            "HTTPS" => Protocol::Https,
            "TLS" => Protocol::Tls,
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            _ => Protocol::Other(name),
        }
    }
}

/// TLS of one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// `Terminate` by default.
    #[serde(default)]
    pub mode: TlsMode,
    /// At most 64 certificates.
    #[serde(default)]
    pub certificate_refs: Vec<SecretObjectReference>,
    /// Implementation-specific options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// Party that ends the client's TLS session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum TlsMode {
    /// The gateway.
    #[default]
    Terminate,
    /// The backend.
    Passthrough,
}

/// Routes that may attach to a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AllowedRoutes {
    /// Their namespaces; the Gateway's own by default.
    #[serde(default)]
    pub namespaces: RouteNamespaces,
    /// Their kinds; empty means those that fit the protocol.
    #[serde(default)]
    pub kinds: Vec<RouteGroupKind>,
}

/// Namespaces whose routes may attach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RouteNamespaces {
    /// `Same` by default.
    #[serde(default)]
    pub from: FromNamespaces,
    /// Labels of the namespaces when `from` is `Selector`.
    #[serde(default)]
    pub selector: Option<LabelSelector>,
}

/// A kind of route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct RouteGroupKind {
    /// Gateway API's group by default.
    #[serde(default = "gateway_group")]
    pub group: GroupName,
    /// Such as `HTTPRoute`.
    pub kind: KindName,
}
