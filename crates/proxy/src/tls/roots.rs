//! Trusted authorities.

use std::sync::{Arc, OnceLock};

use pailou_snapshot::Roots;
use rustls::RootCertStore;

/// Why trusted authorities are unusable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RootsError {
    /// The system has none.
    #[error("no trusted certificate authorities were found on this system (SSL_CERT_FILE and SSL_CERT_DIR are honoured){}", detail(.0))]
    NoSystemRoots(Vec<String>),
    /// Of those configured none can be used.
    #[error("none of the configured certificate authorities is a valid certificate")]
    NoneUsable,
}

/// The store of what is trusted. The system's is read once, when it is first asked for.
pub(super) fn store(roots: &Roots) -> Result<Arc<RootCertStore>, RootsError> {
    static SYSTEM: OnceLock<Result<Arc<RootCertStore>, RootsError>> = OnceLock::new();
    match roots {
        Roots::System => SYSTEM.get_or_init(system).clone(),
        Roots::Certificates(certificates) => {
            let mut store = RootCertStore::empty();
            let (added, _) = store.add_parsable_certificates(certificates.iter().cloned());
            if added == 0 { Err(RootsError::NoneUsable) } else { Ok(Arc::new(store)) }
        }
    }
}

fn system() -> Result<Arc<RootCertStore>, RootsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(RootsError::NoSystemRoots(found.errors.iter().map(ToString::to_string).collect()));
    }
    Ok(Arc::new(store))
}

fn detail(errors: &[String]) -> String {
    if errors.is_empty() { String::new() } else { format!(": {}", errors.join("; ")) }
}
