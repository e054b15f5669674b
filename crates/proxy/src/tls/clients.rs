//! The check of clients' certificates.

use std::sync::Arc;

use pailou_snapshot::{AltNameKind, AltNameMatch, ClientCertificates, ClientTrust, Roots};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{verify_tls12_signature, verify_tls13_signature},
    server::{
        ClientCertVerifierBuilder, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;

use super::{
    TlsConfigError,
    alt_names::{AltName, alt_names},
    presented::sha256,
    provider, roots,
    verify::Trusted,
};

/// Verifier of clients' certificates by the settings.
pub(super) fn verifier(asked: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    match asked {
        ClientCertificates::Valid(trust) => Ok(Arc::new(ByTrust::new(trust, true)?)),
        ClientCertificates::ValidOrNone(trust) => Ok(Arc::new(ByTrust::new(trust, false)?)),
        ClientCertificates::Any => Ok(Arc::new(Anyone)),
    }
}

fn from(trust: &ClientTrust) -> Result<ClientCertVerifierBuilder, TlsConfigError> {
    let roots = roots::store(&Roots::Certificates(Arc::clone(&trust.authorities)))?;
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()));
    // An old list may lack what was revoked since.
    let builder = builder.with_crls(trust.revocations.iter().cloned()).enforce_revocation_expiration();
    Ok(if trust.revocation_of_leaf_only { builder.only_check_end_entity_revocation() } else { builder })
}

/// A certificate is none of those that the listener accepts.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum NotAccepted {
    #[error("the certificate has none of the digests that the listener accepts")]
    Digest,
    #[error("the certificate has none of the names that the listener accepts")]
    Name,
}

/// Lets in whoever has a certificate from a trusted authority, or one that is itself trusted; with a digest and a name that are accepted,
/// where some are listed. Without authorities the digests alone decide.
#[derive(Debug)]
struct ByTrust {
    /// Checks chains; `None` where there are no authorities.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    trusted: Trusted,
    trust: Arc<ClientTrust>,
    is_mandatory: bool,
}

impl ByTrust {
    fn new(trust: &Arc<ClientTrust>, is_mandatory: bool) -> Result<Self, TlsConfigError> {
        let chains = match trust.authorities.is_empty() {
            true if !trust.has_digests() => return Err(TlsConfigError::NoAuthority),
            true => None,
            false => Some(from(trust)?.build()?),
        };
        let trusted = Trusted::of(&Roots::Certificates(Arc::clone(&trust.authorities)));
        Ok(Self { chains, trusted, trust: Arc::clone(trust), is_mandatory })
    }

    /// Whether the certificate itself is one of those that are listed.
    fn accept(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let ClientTrust { certificate_digests, key_digests, names, .. } = &*self.trust;
        let refused = |why: NotAccepted| Error::from(CertificateError::Other(OtherError(Arc::new(why))));
        if self.trust.has_digests() {
            let has = |digests: &[[u8; 32]], bytes: &[u8]| {
                let digest = if digests.is_empty() { Vec::new() } else { sha256(bytes) };
                digests.iter().any(|listed| listed[..] == digest)
            };
            let read = EndEntityCert::try_from(certificate).map_err(|_| CertificateError::BadEncoding)?;
            if !has(certificate_digests, certificate) && !has(key_digests, &read.subject_public_key_info()) {
                return Err(refused(NotAccepted::Digest));
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        let presented = alt_names(certificate).ok_or(CertificateError::BadEncoding)?;
        let is_named = presented.iter().any(|name| names.iter().any(|accepted| is_match(accepted, name)));
        if is_named { Ok(()) } else { Err(refused(NotAccepted::Name)) }
    }
}

/// Whether a name of a certificate is accepted. DNS names are compared without regard to case, and one that begins with `*.` stands for all
/// names with one label in that place (RFC 9525, 6.3).
fn is_match(accepted: &AltNameMatch, name: &AltName) -> bool {
    match (&accepted.kind, name) {
        (AltNameKind::Dns, AltName::Dns(name)) => {
            let name = name.to_ascii_lowercase();
            let stands_for = |exact: &str| {
                let parent = |name: &str| name.split_once('.').map(|(_, parent)| parent.to_owned());
                name.strip_prefix("*.").is_some_and(|own| parent(exact).is_some_and(|parent| parent == own))
            };
            accepted.value.matches(&name) || accepted.value.exact().is_some_and(stands_for)
        }
        (AltNameKind::Email, AltName::Email(name))
        | (AltNameKind::Ip, AltName::Ip(name))
        | (AltNameKind::Uri, AltName::Uri(name)) => accepted.value.matches(name),
        (AltNameKind::Other(wanted), AltName::Other(kind, name)) => **wanted == **kind && accepted.value.matches(name),
        _ => false,
    }
}

impl ClientCertVerifier for ByTrust {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.as_ref().map_or(&[], |chains| chains.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chains) = &self.chains
            && let Err(error) = chains.verify_client_cert(end_entity, intermediates, now)
        {
            self.trusted.accept(error, end_entity)?;
        }
        self.accept(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
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
