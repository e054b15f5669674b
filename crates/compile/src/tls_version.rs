//! Versions of TLS.

use pailou_api::envoy::tls::TlsVersion as Version;
use pailou_snapshot::TlsVersion;

/// TLS 1.0 and 1.1 are not spoken: as a bound they mean 1.2.
pub(crate) fn version(asked: Option<Version>, default: TlsVersion) -> TlsVersion {
    match asked {
        None | Some(Version::Auto) => default,
        Some(Version::V1_3) => TlsVersion::V1_3,
        Some(Version::V1_0 | Version::V1_1 | Version::V1_2) => TlsVersion::V1_2,
    }
}
