//! BackendTLSPolicy: TLS towards backends.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::Resource;
use super::names::{Hostname, PreciseHostname};
use super::refs::{LocalObjectReference, PolicyTargetReference};

/// `gateway.networking.k8s.io` BackendTLSPolicy, v1 and v1alpha3.
pub type BackendTlsPolicy = Resource<BackendTlsPolicySpec>;

/// `spec` of a BackendTLSPolicy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    /// Services, Backends or InferencePools of the same namespace, 1 to 16.
    pub target_refs: Vec<PolicyTargetReference>,
    /// How the backend's certificate is verified.
    pub validation: BackendTlsValidation,
    /// Implementation-specific options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// How a backend's certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsValidation {
    /// Trust anchors in ConfigMaps or other kinds, at most 8; exclusive with the well-known ones.
    #[serde(default)]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    /// `System`, or an implementation's `domain/name`.
    #[serde(rename = "wellKnownCACertificates", default)]
    pub well_known_ca_certificates: Option<String>,
    /// The server name to send, and to verify unless `subjectAltNames` is set.
    pub hostname: PreciseHostname,
    /// Names of which one must be in the certificate, at most 5.
    #[serde(default)]
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// A name that a certificate may carry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "RawSubjectAltName")]
pub enum SubjectAltName {
    /// A DNS name, perhaps with a wildcard.
    Hostname(Hostname),
    /// A URI, such as a SPIFFE identity.
    Uri(String),
}

/// A name whose `type` and fields do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a subject alternative name of type {kind} needs exactly the field {field}")]
pub struct InvalidSubjectAltName {
    kind: &'static str,
    field: &'static str,
}

#[derive(Deserialize)]
struct RawSubjectAltName {
    #[serde(rename = "type")]
    kind: SubjectAltNameType,
    #[serde(default)]
    hostname: Option<Hostname>,
    #[serde(default)]
    uri: Option<String>,
}

#[derive(Deserialize)]
enum SubjectAltNameType {
    Hostname,
    #[serde(rename = "URI")]
    Uri,
}

impl TryFrom<RawSubjectAltName> for SubjectAltName {
    type Error = InvalidSubjectAltName;

    fn try_from(raw: RawSubjectAltName) -> Result<SubjectAltName, InvalidSubjectAltName> {
        match (raw.kind, raw.hostname, raw.uri) {
            (SubjectAltNameType::Hostname, Some(hostname), None) => Ok(SubjectAltName::Hostname(hostname)),
            (SubjectAltNameType::Uri, None, Some(uri)) => Ok(SubjectAltName::Uri(uri)),
            (SubjectAltNameType::Hostname, ..) => Err(InvalidSubjectAltName { kind: "Hostname", field: "hostname" }),
            (SubjectAltNameType::Uri, ..) => Err(InvalidSubjectAltName { kind: "URI", field: "uri" }),
        }
    }
}
