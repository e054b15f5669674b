//! Certificates for demonstrations and tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::config::Tls;

/// A certificate authority that nobody trusts unless told to.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Why a certificate was not made; only a subject that is no DNS name can cause it.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct CertificateError(#[from] rcgen::Error);

impl Authority {
    /// A new authority with a fresh key.
    pub fn new() -> Result<Self, CertificateError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Simulated authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Authority { issuer })
    }

    /// The authority's own certificate in PEM: what a client must trust.
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for DNS names (wildcards too) and IP addresses, with its key.
    pub fn issue<S: AsRef<str>>(&self, subjects: &[S]) -> Result<Tls, CertificateError> {
        let names: Vec<String> = subjects.iter().map(|subject| subject.as_ref().to_owned()).collect();
        let mut params = CertificateParams::new(names.clone())?;
        if let Some(first) = names.first() {
            params.distinguished_name.push(DnType::CommonName, first.as_str());
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Tls { cert_pem: format!("{}{}", certificate.pem(), self.issuer.pem()), key_pem: key.serialize_pem().into() })
    }
}
