//! The check of a backend's certificate: its chain, then its names against a list.

use std::{fmt, io, sync::Arc};

use pailou_snapshot::{Roots, San};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::provider;

/// The certificate bears none of the names asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate name mismatch: wanted {}, the certificate is for {}", list(.wanted), list(.presented))]
pub struct NameMismatch {
    wanted: Vec<String>,
    presented: Vec<String>,
}

/// Accepts a certificate from a trusted authority, or one that is itself trusted, that bears one of the names. What is sent as SNI plays
/// no part in it, unless there are no names.
pub(super) struct ByNames {
    roots: Arc<RootCertStore>,
    trusted: Trusted,
    names: Vec<San>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ByNames {
    pub(super) fn new(roots: Arc<RootCertStore>, trusted: Trusted, names: Vec<San>) -> Self {
        Self { roots, trusted, names, algorithms: provider().signature_verification_algorithms }
    }
}

impl fmt::Debug for ByNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByNames").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ByNames {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, self.algorithms.all)
            .or_else(|error| self.trusted.accept(error, end_entity))?;
        let presented = webpki::EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let bears = |name: &San| match name {
            San::Hostname(name) => ServerName::try_from(&**name).is_ok_and(|name| verify_server_name(&certificate, &name).is_ok()),
            San::Uri(uri) => presented.valid_uri_names().any(|name| name == &**uri),
        };
        let is_named = match self.names.is_empty() {
            true => verify_server_name(&certificate, server_name).is_ok(),
            false => self.names.iter().any(bears),
        };
        if is_named {
            return Ok(ServerCertVerified::assertion());
        }
        let mut wanted: Vec<_> = self.names.iter().map(|(San::Hostname(name) | San::Uri(name))| name.to_string()).collect();
        if wanted.is_empty() {
            wanted.push(server_name.to_str().into_owned());
        }
        let mismatch = NameMismatch {
            wanted,
            presented: presented.valid_dns_names().chain(presented.valid_uri_names()).map(str::to_owned).collect(),
        };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Certificates that were configured as trusted.
///
/// Among them may be that of the peer itself, as `openssl req -x509` makes it: OpenSSL and BoringSSL accept it as it is, even where it
/// says that it is an authority's.
#[derive(Clone, Debug)]
pub(super) struct Trusted(Arc<[CertificateDer<'static>]>);

impl Trusted {
    /// The configured certificates; none for the system's.
    pub(super) fn of(roots: &Roots) -> Self {
        match roots {
            Roots::System => Self(Arc::default()),
            Roots::Certificates(certificates) => Self(Arc::clone(certificates)),
        }
    }

    /// Accepts a certificate that is one of these in every byte, where the error is about its chain. Its validity and its usage are checked
    /// before the chain.
    ///
    /// # Errors
    /// The error itself, if it is about something else or the certificate is none of these.
    pub(super) fn accept(&self, error: Error, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let is_of_chain = match &error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
            Error::InvalidCertificate(error) => is_authority(error),
            _ => false,
        };
        if is_of_chain && self.0.iter().any(|it| it == certificate) { Ok(()) } else { Err(error) }
    }
}

/// Whether a certificate was refused because it is an authority's.
fn is_authority(error: &CertificateError) -> bool {
    let CertificateError::Other(cause) = error else { return false };
    matches!(cause.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Accepts any certificate whose key its bearer has (`insecureSkipVerify`).
#[derive(Debug)]
pub(super) struct Anyone(WebPkiSupportedAlgorithms);

impl Anyone {
    pub(super) fn new() -> Self {
        Self(provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Why a handshake failed, in words. The library shows what a verifier of ours says, and much of its own, as code.
pub(crate) fn reason(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidCertificate(error)) if is_authority(error) => {
            "the certificate is an authority's: make it with basicConstraints=CA:FALSE, or trust this very certificate".to_owned()
        }
        Some(Error::InvalidCertificate(CertificateError::Other(cause))) => cause.0.to_string(),
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the certificate is not from a trusted authority".to_owned()
        }
        _ => error.to_string(),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}
