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

use super::{TlsConfigError, provider, roots, verify::Trusted};

/// Verifier of clients' certificates by the settings.
pub(super) fn verifier(asked: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    match asked {
        ClientCertificates::Valid(authorities) => Ok(Arc::new(ByAuthority::new(from(authorities)?.build()?, authorities))),
        ClientCertificates::ValidOrNone(authorities) => {
            Ok(Arc::new(ByAuthority::new(from(authorities)?.allow_unauthenticated().build()?, authorities)))
        }
        ClientCertificates::Any => Ok(Arc::new(Anyone)),
    }
}

fn from(authorities: &Arc<[CertificateDer<'static>]>) -> Result<ClientCertVerifierBuilder, TlsConfigError> {
    let roots = roots::store(&Roots::Certificates(Arc::clone(authorities)))?;
    Ok(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider())))
}

/// Lets in whoever has a certificate from a trusted authority, or one that is itself trusted.
#[derive(Debug)]
struct ByAuthority {
    chains: Arc<dyn ClientCertVerifier>,
    trusted: Trusted,
}

impl ByAuthority {
    fn new(chains: Arc<dyn ClientCertVerifier>, authorities: &Arc<[CertificateDer<'static>]>) -> Self {
        Self { chains, trusted: Trusted::of(&Roots::Certificates(Arc::clone(authorities))) }
    }
}

impl ClientCertVerifier for ByAuthority {
    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.chains.verify_client_cert(end_entity, intermediates, now).or_else(|error| {
            self.trusted.accept(error, end_entity)?;
            Ok(ClientCertVerified::assertion())
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
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
