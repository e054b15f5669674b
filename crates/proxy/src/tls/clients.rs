//! The check of clients' certificates.

use std::sync::Arc;

use pailou_snapshot::{ClientCertificates, Roots};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::{
        ClientCertVerifierBuilder, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{TlsConfigError, provider, roots};

/// Verifier of clients' certificates by the settings.
pub(super) fn verifier(asked: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    match asked {
        ClientCertificates::Valid(authorities) => Ok(from(authorities)?.build()?),
        ClientCertificates::ValidOrNone(authorities) => Ok(from(authorities)?.allow_unauthenticated().build()?),
        ClientCertificates::Any => Ok(Arc::new(Anyone)),
    }
}

fn from(authorities: &Arc<[CertificateDer<'static>]>) -> Result<ClientCertVerifierBuilder, TlsConfigError> {
    let roots = roots::store(&Roots::Certificates(Arc::clone(authorities)))?;
    Ok(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider())))
}

/// Asks for a certificate, and lets in whoever comes. Nothing is made of the certificate, so that nothing of it has to be true.
#[derive(Debug)]
struct Anyone;

impl ClientCertVerifier for Anyone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
