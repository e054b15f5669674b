//! TLS towards clients.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use pailou_snapshot::{HostMap, HostPattern, ServerTls};
use rustls::{
    CipherSuite, ServerConfig, SupportedCipherSuite,
    crypto::{CryptoProvider, ring::Ticketer},
    server::{ClientHello, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use super::{TlsConfigError, clients, provider, versions};

/// Makes the library's configuration for a listener.
pub(crate) fn server_config(settings: &ServerTls) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let mut config = ServerConfig::builder_with_provider(with_ciphers(&settings.ciphers)?)
        .with_protocol_versions(versions(settings.min_version, settings.max_version)?)?
        .with_client_cert_verifier(match &settings.client_certificates {
            Some(asked) => clients::verifier(asked)?,
            None => WebPkiClientVerifier::no_client_auth(),
        })
        .with_cert_resolver(Arc::new(Certificates::new(&settings.certificates)?));
    config.alpn_protocols.clone_from(&settings.alpn);
    // A client that resumes a session is not asked again: one that it had elsewhere proves nothing here.
    let ticketer = if settings.client_certificates.is_some() { Ticketer::new().ok() } else { shared_ticketer() };
    if let Some(ticketer) = ticketer {
        config.ticketer = ticketer;
    }
    Ok(Arc::new(config))
}

/// Tickets outlive a reload, and so do the sessions that clients resume with them.
fn shared_ticketer() -> Option<Arc<dyn ProducesTickets>> {
    static TICKETER: OnceLock<Option<Arc<dyn ProducesTickets>>> = OnceLock::new();
    TICKETER.get_or_init(|| Ticketer::new().ok()).clone()
}

fn with_ciphers(names: &[Arc<str>]) -> Result<Arc<CryptoProvider>, TlsConfigError> {
    if names.is_empty() {
        return Ok(Arc::clone(provider()));
    }
    let mut provider = CryptoProvider::clone(provider());
    // TLS 1.3's are not negotiable by configuration, in OpenSSL's tradition and Envoy's.
    provider.cipher_suites.retain(|suite| suite.tls13().is_some() || names.iter().any(|name| is_named(suite, name)));
    if !provider.cipher_suites.iter().any(|suite| suite.tls13().is_none()) {
        return Err(TlsConfigError::NoCipher(names.join(", ")));
    }
    Ok(Arc::new(provider))
}

/// Whether a suite is meant by an IANA or OpenSSL name.
fn is_named(suite: &SupportedCipherSuite, name: &str) -> bool {
    let openssl = match suite.suite() {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    };
    name == openssl || suite.suite().as_str() == Some(name)
}

/// A listener's certificates, by the names they bear.
struct Certificates {
    by_name: HostMap<Vec<Arc<CertifiedKey>>>,
    first: Arc<CertifiedKey>,
}

impl Certificates {
    fn new(certificates: &[Arc<CertifiedKey>]) -> Result<Self, TlsConfigError> {
        let first = Arc::clone(certificates.first().ok_or(TlsConfigError::NoCertificate)?);
        let mut by_name: HostMap<Vec<Arc<CertifiedKey>>> = HostMap::default();
        for certificate in certificates {
            let der = certificate.end_entity_cert()?;
            // One that cannot be read bears no names, but may still be presented as the first.
            let Ok(parsed) = webpki::EndEntityCert::try_from(der) else { continue };
            for name in parsed.valid_dns_names() {
                by_name.entry(Some(&HostPattern::new(name))).push(Arc::clone(certificate));
            }
        }
        Ok(Self { by_name, first })
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let candidates = name.as_deref().and_then(|name| self.by_name.get(name).next());
        // An RSA and an ECDSA certificate may bear the same name.
        let usable = |certificate: &&Arc<CertifiedKey>| certificate.key.choose_scheme(hello.signature_schemes()).is_some();
        candidates
            .and_then(|candidates| candidates.iter().find(usable).or(candidates.first()))
            .or(Some(&self.first))
            .map(Arc::clone)
    }
}
