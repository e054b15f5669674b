//! ClusterTrustBundle.

use serde::Deserialize;

use crate::meta::Resource;

/// The API group of certificates.
pub const CERTIFICATES_GROUP: &str = "certificates.k8s.io";

/// `certificates.k8s.io` ClusterTrustBundle.
pub type ClusterTrustBundle = Resource<ClusterTrustBundleSpec>;

/// `spec` of a ClusterTrustBundle.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTrustBundleSpec {
    /// Signer that the bundle's certificates belong to. A reference by name ignores it.
    #[serde(default)]
    pub signer_name: String,
    /// Certificates of authorities, as PEM.
    pub trust_bundle: String,
}
