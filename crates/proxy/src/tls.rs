//! TLS towards backends and towards clients: the library's configurations, made from the snapshot's settings.

mod alt_names;
mod client;
mod clients;
mod der;
mod distinguished_name;
mod presented;
mod roots;
mod server;
mod stream;
mod validity;
mod verify;

pub use client::ClientTls;
pub(crate) use client::identity;
pub(crate) use presented::PresentedCertificate;
pub use roots::RootsError;
pub(crate) use server::server_config;
pub(crate) use stream::MaybeTls;
pub(crate) use validity::end_of_chain;
pub use verify::NameMismatch;
pub(crate) use verify::reason;

use std::sync::{Arc, OnceLock};

use pailou_snapshot::TlsVersion;
use rustls::{SupportedProtocolVersion, crypto::CryptoProvider, server::VerifierBuilderError, version};

/// Why settings make no working configuration.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The server name is neither a DNS name nor an IP address.
    #[error("`{0}` is not a server name")]
    ServerName(Arc<str>),
    /// The trusted authorities are unusable.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// Minimum and maximum version leave none.
    #[error("no TLS version lies between the minimum and the maximum")]
    NoVersion,
    /// None of the cipher suites asked for is known, or none is for the versions allowed.
    #[error("none of the cipher suites is supported: {0}")]
    NoCipher(String),
    /// Clients' certificates cannot be checked.
    #[error("clients' certificates cannot be checked: {0}")]
    ClientVerifier(#[from] VerifierBuilderError),
    /// Nothing says which certificates of clients are trusted.
    #[error("clients' certificates cannot be checked: no authority and no digest is trusted")]
    NoAuthority,
    /// There is no certificate to present.
    #[error("there is no certificate to present")]
    NoCertificate,
    /// The library's own objection.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

/// The one provider of cryptography.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
}

static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// The versions from `min` to `max`.
fn versions(min: TlsVersion, max: TlsVersion) -> Result<&'static [&'static SupportedProtocolVersion], TlsConfigError> {
    match (min, max) {
        (TlsVersion::V1_2, TlsVersion::V1_2) => Ok(&BOTH[1..]),
        (TlsVersion::V1_2, TlsVersion::V1_3) => Ok(&BOTH),
        (TlsVersion::V1_3, TlsVersion::V1_3) => Ok(&BOTH[..1]),
        (TlsVersion::V1_3, TlsVersion::V1_2) => Err(TlsConfigError::NoVersion),
    }
}

#[cfg(test)]
mod tests;
