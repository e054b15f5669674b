//! Backend: endpoints outside the cluster.

use serde::Deserialize;

use super::tls::TlsVersion;
use crate::meta::Resource;
use crate::names::PreciseHostname;
use crate::refs::{LocalObjectReference, SecretObjectReference};
use crate::unsupported::{Unsupported, unsupported_fields};

/// `gateway.envoyproxy.io/v1alpha1` Backend.
pub type Backend = Resource<BackendSpec>;

/// `spec` of a Backend.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendSpec {
    /// `Endpoints` by default.
    #[serde(rename = "type", default)]
    pub kind: BackendType,
    /// 1 to 256 endpoints; none when the type is `DynamicResolver`.
    #[serde(default)]
    pub endpoints: Vec<BackendEndpoint>,
    /// Application protocols of the endpoints beside HTTP/1.1.
    #[serde(default)]
    pub app_protocols: Vec<AppProtocol>,
    /// Whether it is used only when the others are unhealthy.
    #[serde(default)]
    pub fallback: bool,
    /// TLS towards the endpoints.
    #[serde(default)]
    pub tls: Option<BackendTls>,
}

unsupported_fields!(BackendSpec,
    "endpoints[].zone" => |spec| spec.endpoints.iter().any(|endpoint| endpoint.zone.is_some()),
    "tls.ecdhCurves" => |spec| spec.tls.as_ref().is_some_and(|tls| tls.ecdh_curves.is_some()),
    "tls.signatureAlgorithms" => |spec| spec.tls.as_ref().is_some_and(|tls| tls.signature_algorithms.is_some()),
    "tls.fingerprints" => |spec| spec.tls.as_ref().is_some_and(|tls| tls.fingerprints.is_some()),
);

/// Source of a Backend's endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum BackendType {
    /// From the list.
    #[default]
    Endpoints,
    /// From the request's host.
    DynamicResolver,
}

/// Application protocol of a Backend's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum AppProtocol {
    /// HTTP/2 in cleartext.
    #[serde(rename = "gateway.envoyproxy.io/h2c")]
    H2c,
    /// WebSocket.
    #[serde(rename = "gateway.envoyproxy.io/ws")]
    Ws,
    /// WebSocket over TLS.
    #[serde(rename = "gateway.envoyproxy.io/wss")]
    Wss,
}

/// One endpoint: exactly one of `fqdn`, `ip` and `unix` is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BackendEndpoint {
    /// A DNS name, resolved again by TTL.
    #[serde(default)]
    pub fqdn: Option<FqdnEndpoint>,
    /// An address.
    #[serde(default)]
    pub ip: Option<IpEndpoint>,
    /// A Unix domain socket.
    #[serde(default)]
    pub unix: Option<UnixSocket>,
    /// A name for an address, for health checks and SNI.
    #[serde(default)]
    pub hostname: Option<PreciseHostname>,
    /// The endpoint's zone.
    #[serde(default)]
    pub zone: Option<Unsupported>,
}

/// A DNS name and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct FqdnEndpoint {
    /// The name; a final dot is allowed.
    pub hostname: String,
    /// 0 to 65535.
    pub port: u16,
}

/// An address and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct IpEndpoint {
    /// IPv4 or IPv6.
    pub address: std::net::IpAddr,
    /// 0 to 65535.
    pub port: u16,
}

/// A Unix domain socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct UnixSocket {
    /// At most 108 bytes.
    pub path: String,
}

/// TLS towards a Backend's endpoints; a BackendTLSPolicy wins where both speak.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTls {
    /// Trust anchors (key `ca.crt`), at most 8.
    #[serde(default)]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    /// `System`; exclusive with the references.
    #[serde(rename = "wellKnownCACertificates", default)]
    pub well_known_ca_certificates: Option<String>,
    /// Accepts any certificate.
    #[serde(default)]
    pub insecure_skip_verify: bool,
    /// Certificate shown to the endpoint.
    #[serde(default)]
    pub client_certificate_ref: Option<SecretObjectReference>,
    /// The server name to send.
    #[serde(default)]
    pub sni: Option<PreciseHostname>,
    /// The oldest version.
    #[serde(default)]
    pub min_version: Option<TlsVersion>,
    /// The newest version.
    #[serde(default)]
    pub max_version: Option<TlsVersion>,
    /// Cipher suites by OpenSSL's names.
    #[serde(default)]
    pub ciphers: Vec<String>,
    /// Protocols offered by ALPN.
    #[serde(default)]
    pub alpn_protocols: Option<Vec<String>>,
    /// Curves.
    #[serde(default)]
    pub ecdh_curves: Option<Unsupported>,
    /// Signature algorithms.
    #[serde(default)]
    pub signature_algorithms: Option<Unsupported>,
    /// JA3 and JA4.
    #[serde(default)]
    pub fingerprints: Option<Unsupported>,
    /// Whether the server name is the first endpoint's, where `sni` names none.
    #[serde(rename = "autoSNIFromEndpointHostname", default)]
    pub auto_sni: Option<bool>,
}
