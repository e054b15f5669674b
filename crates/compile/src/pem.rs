//! Certificates and keys from PEM.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use rustls::{InconsistentKeys, crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject};

use pailou_api::{Object, Secret};

/// Why PEM is of no use; never holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemError {
    #[error("has no key {0}: create it with `kubectl create secret tls`")]
    Missing(&'static str),
    #[error("key tls.crt holds no PEM certificate that can be read")]
    Certificate,
    #[error("key tls.key holds no PEM private key that can be read (RSA, ECDSA P-256 or P-384, or Ed25519)")]
    Key,
    #[error("the private key tls.key does not belong to the certificate tls.crt")]
    Mismatch,
    #[error("key ca.crt holds no PEM certificate that can be read")]
    Authority,
    #[error("key ca.crl holds no PEM list of revoked certificates that can be read")]
    RevocationList,
}

/// Certificates and keys of Secrets, each read once for as long as the Secret stays what it is.
#[derive(Debug, Default)]
pub(crate) struct Parsed(RefCell<HashMap<usize, Read>>);

/// Content of a Secret. While it exists, no other object can take the Secret's place in memory.
#[derive(Debug)]
struct Read {
    _secret: Arc<Secret>,
    key: Result<Arc<CertifiedKey>, PemError>,
}

impl Parsed {
    /// The certificate chain and key of a `kubernetes.io/tls` Secret.
    pub(crate) fn certified_key(&self, secret: &Arc<Secret>) -> Result<Arc<CertifiedKey>, PemError> {
        let mut known = self.0.borrow_mut();
        let read = known.entry(address(secret)).or_insert_with(|| Read { _secret: secret.clone(), key: certified_key(secret) });
        read.key.clone()
    }

    /// An object is gone or not what it was.
    pub(crate) fn forget(&mut self, object: &Object) {
        if let Object::Secret(secret) = object {
            self.0.get_mut().remove(&address(secret));
        }
    }
}

fn address(secret: &Arc<Secret>) -> usize {
    Arc::as_ptr(secret).addr()
}

/// The certificate chain and key of a `kubernetes.io/tls` Secret.
fn certified_key(secret: &Secret) -> Result<Arc<CertifiedKey>, PemError> {
    let field = |key| secret.spec.data.get(key).map(|value| value.expose()).ok_or(PemError::Missing(key));
    key_pair(field("tls.crt")?, field("tls.key")?)
}

/// A certificate chain and its key.
pub(crate) fn key_pair(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, PemError> {
    let chain = certificates(chain).ok_or(PemError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PemError::Key)?;
    let key = ring::sign::any_supported_type(&key).map_err(|_| PemError::Key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(PemError::Mismatch),
        Err(_) => Err(PemError::Certificate),
    }
}

/// The certificates of a `ca.crt`.
pub(crate) fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates = certificates(pem).ok_or(PemError::Authority)?;
    let anchors = certificates.iter().all(webpki_accepts);
    if anchors { Ok(certificates) } else { Err(PemError::Authority) }
}

/// The lists of revoked certificates of a `ca.crl`.
pub(crate) fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    let lists: Vec<_> =
        CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| PemError::RevocationList)?;
    let is_read = |list: &CertificateRevocationListDer<'_>| webpki::BorrowedCertRevocationList::from_der(list).is_ok();
    if !lists.is_empty() && lists.iter().all(is_read) { Ok(lists) } else { Err(PemError::RevocationList) }
}

/// Whether the library takes the certificate as an authority.
fn webpki_accepts(der: &CertificateDer<'static>) -> bool {
    rustls::RootCertStore::empty().add(der.clone()).is_ok()
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!chain.is_empty()).then_some(chain)
}
