//! ClientTrafficPolicy: how a Gateway treats its clients.

use serde::Deserialize;

use super::client_headers::ClientHeaders;
use super::http2::{Http2Keepalive, Http2Settings};
use super::merge::joined_targets;
use super::string_match::{StringMatch, StringMatchType};
use super::tls::TlsVersion;
use crate::duration::Duration;
use crate::meta::Resource;
use crate::names::HeaderName;
use crate::quantity::Quantity;
use crate::refs::{PolicyTargetReference, SecretObjectReference, TargetSelector};
use crate::unsupported::{Unsupported, unsupported_fields};

/// `gateway.envoyproxy.io/v1alpha1` ClientTrafficPolicy.
pub type ClientTrafficPolicy = Resource<ClientTrafficPolicySpec>;

/// `spec` of a ClientTrafficPolicy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientTrafficPolicySpec {
    /// One target (deprecated in favour of `targetRefs`).
    #[serde(default)]
    pub target_ref: Option<PolicyTargetReference>,
    /// Gateways, ListenerSets or their listeners.
    #[serde(default)]
    pub target_refs: Vec<PolicyTargetReference>,
    /// Targets by label.
    #[serde(default)]
    pub target_selectors: Vec<TargetSelector>,
    /// Keepalive of clients' connections.
    #[serde(default)]
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Detection of the client behind other proxies.
    #[serde(rename = "clientIPDetection", default)]
    pub client_ip_detection: Option<ClientIpDetection>,
    /// TLS towards clients.
    #[serde(default)]
    pub tls: Option<ClientTls>,
    /// Normalisation of paths.
    #[serde(default)]
    pub path: Option<PathSettings>,
    /// Treatment of headers.
    #[serde(default)]
    pub headers: Option<ClientHeaders>,
    /// Timeouts.
    #[serde(default)]
    pub timeout: Option<ClientTimeout>,
    /// Limits of buffers and connections.
    #[serde(default)]
    pub connection: Option<ClientConnection>,
    /// HTTP/2 settings.
    #[serde(default)]
    pub http2: Option<Http2Settings>,
    /// A path that the gateway answers itself.
    #[serde(default)]
    pub health_check: Option<HealthCheckSettings>,
    /// PROXY protocol (deprecated form).
    #[serde(default)]
    pub enable_proxy_protocol: Option<bool>,
    /// PROXY protocol.
    #[serde(default)]
    pub proxy_protocol: Option<ClientProxyProtocol>,
    /// HTTP/1 settings.
    #[serde(default)]
    pub http1: Option<Unsupported>,
    /// HTTP/3.
    #[serde(default)]
    pub http3: Option<Unsupported>,
    /// gRPC-Web.
    #[serde(default)]
    pub grpc: Option<Unsupported>,
    /// The scheme that backends see.
    #[serde(default)]
    pub scheme: Option<Unsupported>,
}

impl ClientTrafficPolicySpec {
    fn client_validation(&self, is_set: impl Fn(&ClientValidation) -> bool) -> bool {
        self.tls.as_ref().and_then(|tls| tls.client_validation.as_ref()).is_some_and(is_set)
    }

    /// `targetRef` and `targetRefs` together, without repetitions.
    pub fn targets(&self) -> Vec<PolicyTargetReference> {
        joined_targets(self.target_ref.as_ref(), &self.target_refs)
    }
}

unsupported_fields!(ClientTrafficPolicySpec,
    "http1" => |spec| spec.http1.is_some(),
    "http3" => |spec| spec.http3.is_some(),
    "grpc" => |spec| spec.grpc.is_some(),
    "scheme" => |spec| spec.scheme.is_some(),
    "connection.socketBufferLimit" => |spec| spec.connection.as_ref().is_some_and(|it| it.socket_buffer_limit.is_some()),
    "connection.maxAcceptPerSocketEvent" =>
        |spec| spec.connection.as_ref().is_some_and(|it| it.max_accept_per_socket_event.is_some()),
    "http2.onInvalidMessage" => |spec| spec.http2.as_ref().is_some_and(|it| it.on_invalid_message.is_some()),
    "http2.connectionKeepalive.intervalJitter" => |spec| spec.keepalive(|it| it.interval_jitter.is_some()),
    "http2.connectionKeepalive.idleInterval" => |spec| spec.keepalive(|it| it.idle_interval.is_some()),
    "timeout.tcp.connectionInspectionTimeout" => |spec| spec.tcp_timeout(|tcp| tcp.connection_inspection_timeout.is_some()),
    "tls.ecdhCurves" => |spec| spec.tls.as_ref().is_some_and(|it| it.ecdh_curves.is_some()),
    "tls.signatureAlgorithms" => |spec| spec.tls.as_ref().is_some_and(|it| it.signature_algorithms.is_some()),
    "tls.session" => |spec| spec.tls.as_ref().is_some_and(|it| it.session.is_some()),
    "tls.clientValidation.mode" => |spec| spec.client_validation(|it| it.mode.is_some()),
    "tls.clientValidation.allowExpiredCertificate" => |spec| spec.client_validation(|it| it.allow_expired_certificate.is_some()),
    "headers.maxRequestHeaderLimit" => |spec| spec.headers.as_ref().is_some_and(|it| it.max_request_header_limit.is_some()),
    "tls.fingerprints" => |spec| spec.tls.as_ref().is_some_and(|it| it.fingerprints.is_some()),
);

impl ClientTrafficPolicySpec {
    fn keepalive(&self, is_set: impl Fn(&Http2Keepalive) -> bool) -> bool {
        self.http2.as_ref().and_then(|http2| http2.connection_keepalive.as_ref()).is_some_and(is_set)
    }

    fn tcp_timeout(&self, is_set: impl Fn(&ClientTcpTimeout) -> bool) -> bool {
        self.timeout.as_ref().and_then(|timeout| timeout.tcp.as_ref()).is_some_and(is_set)
    }
}

/// PROXY protocol headers, with which clients' connections begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct ClientProxyProtocol {
    /// Whether connections without one are served too; false when absent.
    #[serde(default)]
    pub optional: bool,
}

/// TCP keepalive; the system's defaults where absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpKeepalive {
    /// Unanswered probes until the connection is dead.
    #[serde(default)]
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    #[serde(default)]
    pub idle_time: Option<Duration>,
    /// Time between probes.
    #[serde(default)]
    pub interval: Option<Duration>,
}

/// How the client's address is found; exactly one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientIpDetection {
    /// From X-Forwarded-For.
    #[serde(default)]
    pub x_forwarded_for: Option<XForwardedFor>,
    /// From another header.
    #[serde(default)]
    pub custom_header: Option<CustomClientHeader>,
    /// From the connection, whatever headers say.
    #[serde(rename = "directSourceIP", default)]
    pub direct_source_ip: Option<DirectSourceIp>,
}

/// The connection's own address is the client's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct DirectSourceIp {}

/// Part of X-Forwarded-For that is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XForwardedFor {
    /// How many proxies before the gateway are trusted.
    #[serde(default)]
    pub num_trusted_hops: Option<u32>,
    /// Networks whose proxies are trusted; exclusive with the number of hops.
    #[serde(rename = "trustedCIDRs", default)]
    pub trusted_cidrs: Vec<String>,
    /// Whether the gateway leaves the header as it came.
    #[serde(rename = "disableXForwardedForAppend", default)]
    pub disable_append: bool,
}

/// A header with the client's address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomClientHeader {
    /// The header's name.
    pub name: HeaderName,
    /// Whether a request without a valid address is refused with 403.
    #[serde(default)]
    pub fail_closed: bool,
}

/// TLS towards clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// The oldest version; 1.2 when absent.
    #[serde(default)]
    pub min_version: Option<TlsVersion>,
    /// The newest version; 1.3 when absent.
    #[serde(default)]
    pub max_version: Option<TlsVersion>,
    /// Cipher suites by OpenSSL's names.
    #[serde(default)]
    pub ciphers: Vec<String>,
    /// Protocols offered by ALPN; an empty list switches ALPN off.
    #[serde(default)]
    pub alpn_protocols: Option<Vec<String>>,
    /// Clients' certificates. A security field: what it asks for must not be skipped in silence.
    #[serde(default)]
    pub client_validation: Option<ClientValidation>,
    /// Curves.
    #[serde(default)]
    pub ecdh_curves: Option<Unsupported>,
    /// Signature algorithms.
    #[serde(default)]
    pub signature_algorithms: Option<Unsupported>,
    /// Resumption.
    #[serde(default)]
    pub session: Option<Unsupported>,
    /// JA3 and JA4.
    #[serde(default)]
    pub fingerprints: Option<Unsupported>,
}

/// Certificates that clients must present.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientValidation {
    /// Whether a client may come without one.
    #[serde(default)]
    pub optional: bool,
    /// Trusted authorities: at most 8 ConfigMaps or Secrets with the key `ca.crt`.
    #[serde(default)]
    pub ca_certificate_refs: Vec<SecretObjectReference>,
    /// SHA-256 digests of public keys (SubjectPublicKeyInfo), in base64.
    #[serde(default)]
    pub spki_hashes: Vec<String>,
    /// SHA-256 digests of certificates, in hexadecimal, with or without colons.
    #[serde(default)]
    pub certificate_hashes: Vec<String>,
    /// Names of which a certificate needs one.
    #[serde(default)]
    pub subject_alt_names: Option<SubjectAltNames>,
    /// Lists of revoked certificates.
    #[serde(default)]
    pub crl: Option<RevocationLists>,
    /// Extent to which certificates are asked for and verified. Only `RequireAndVerify`, the default, is done.
    #[serde(default)]
    pub mode: Option<Unsupported>,
    /// Whether a certificate may have expired.
    #[serde(default)]
    pub allow_expired_certificate: Option<Unsupported>,
}

/// Names of certificates. A certificate needs one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectAltNames {
    /// DNS names.
    #[serde(default)]
    pub dns_names: Vec<StringMatch>,
    /// E-mail addresses.
    #[serde(default)]
    pub email_addresses: Vec<StringMatch>,
    /// IP addresses.
    #[serde(default)]
    pub ip_addresses: Vec<StringMatch>,
    /// URIs.
    #[serde(default)]
    pub uris: Vec<StringMatch>,
    /// Names of other types.
    #[serde(default)]
    pub other_names: Vec<OtherNameMatch>,
}

/// A name of a type of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OtherNameMatch {
    /// The name's type, an object identifier in dotted numbers.
    pub oid: String,
    /// `Exact` by default.
    #[serde(rename = "type", default)]
    pub kind: StringMatchType,
    /// 1 to 1024 characters.
    pub value: String,
}

/// Lists of revoked certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationLists {
    /// ConfigMaps or Secrets with the key `ca.crl`, in PEM.
    pub refs: Vec<SecretObjectReference>,
    /// Whether authorities between are left out.
    #[serde(default)]
    pub only_verify_leaf_certificate: bool,
}

/// Normalisation of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathSettings {
    /// `%2F` and `%5C`; `UnescapeAndRedirect` when absent.
    #[serde(default)]
    pub escaped_slashes_action: Option<EscapedSlashesAction>,
    /// Whether `//` stays; false when absent.
    #[serde(default)]
    pub disable_merge_slashes: Option<bool>,
}

/// Treatment of escaped slashes in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum EscapedSlashesAction {
    /// Nothing.
    KeepUnchanged,
    /// The request is refused with 400.
    RejectRequest,
    /// They are unescaped.
    UnescapeAndForward,
    /// The client is redirected to the unescaped path.
    UnescapeAndRedirect,
}

/// Timeouts of clients' connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct ClientTimeout {
    /// Of HTTP.
    #[serde(default)]
    pub http: Option<ClientHttpTimeout>,
    /// Of connections.
    #[serde(default)]
    pub tcp: Option<ClientTcpTimeout>,
}

/// Timeouts of HTTP; zero switches one off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientHttpTimeout {
    /// For the whole request to arrive.
    #[serde(default)]
    pub request_received_timeout: Option<Duration>,
    /// For the request's head to arrive.
    #[serde(default)]
    pub request_headers_received_timeout: Option<Duration>,
    /// For a connection without requests; 1h when absent.
    #[serde(default)]
    pub idle_timeout: Option<Duration>,
    /// For a request without activity; 5m when absent.
    #[serde(default)]
    pub stream_idle_timeout: Option<Duration>,
}

/// Timeouts of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientTcpTimeout {
    /// For a connection without bytes.
    #[serde(default)]
    pub idle_timeout: Option<Duration>,
    /// For finding out what the client speaks.
    #[serde(default)]
    pub connection_inspection_timeout: Option<Unsupported>,
    /// For the TLS handshake.
    #[serde(default)]
    pub tls_handshake_timeout: Option<Duration>,
}

/// Limits of buffers and connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConnection {
    /// How much of a request is buffered; where a body is read, the largest body.
    #[serde(default)]
    pub buffer_limit: Option<Quantity>,
    /// Limits of connections.
    #[serde(default)]
    pub connection_limit: Option<ConnectionLimit>,
    /// Socket buffers.
    #[serde(default)]
    pub socket_buffer_limit: Option<Unsupported>,
    /// Accepts per wake-up.
    #[serde(default)]
    pub max_accept_per_socket_event: Option<Unsupported>,
}

/// Limits of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionLimit {
    /// How many at once, at least 1; no limit when absent.
    #[serde(default)]
    pub value: Option<u64>,
    /// How long a refused connection stays open.
    #[serde(default)]
    pub close_delay: Option<Duration>,
    /// How long a connection lives.
    #[serde(default)]
    pub max_connection_duration: Option<Duration>,
    /// How many requests a connection carries.
    #[serde(default)]
    pub max_requests_per_connection: Option<u32>,
    /// How long a request lives.
    #[serde(default)]
    pub max_stream_duration: Option<Duration>,
}

/// A path that the gateway answers itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HealthCheckSettings {
    /// 1 to 1024 characters.
    pub path: String,
}
