//! TLS towards a backend.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
};

use http::{HeaderValue, uri::Authority};
use pailou_snapshot::{Protocol, Roots, San, UpstreamTls};
use rustls::{
    ClientConfig,
    client::{ResolvesClientCert, danger::ServerCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::ServerName;
use xxhash_rust::xxh3::Xxh3;

use super::{
    TlsConfigError, provider, roots,
    verify::{Anyone, ByNames, Trusted},
    versions,
};

/// TLS towards a backend, ready to connect with. Sessions are resumed between connections made with the same value; connections
/// are shared between values made from equal settings.
pub struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: ServerName<'static>,
    /// Whether a request's host takes the place of the name.
    is_by_host: bool,
    pub(crate) identity: u128,
}

impl ClientTls {
    /// Makes a configuration from settings.
    ///
    /// # Errors
    /// The SNI name is none, the versions leave none, or no authority can be trusted.
    pub fn new(settings: &UpstreamTls, protocol: Protocol) -> Result<Arc<Self>, TlsConfigError> {
        let server_name =
            ServerName::try_from(settings.sni.to_string()).map_err(|_| TlsConfigError::ServerName(Arc::clone(&settings.sni)))?;
        let verifier: Arc<dyn ServerCertVerifier> = if settings.insecure_skip_verify {
            Arc::new(Anyone::new())
        } else {
            Arc::new(ByNames::new(roots::store(&settings.roots)?, Trusted::of(&settings.roots), settings.names.clone()))
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(versions(settings.min_version, settings.max_version)?)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &settings.client_certificate {
            Some(certificate) => builder.with_client_cert_resolver(resolver(certificate)),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn(protocol);
        let (config, is_by_host, identity) = (Arc::new(config), settings.is_by_host, identity(settings));
        Ok(Arc::new(Self { config, server_name, is_by_host, identity }))
    }
}

impl ClientTls {
    /// The same, for another protocol.
    pub(crate) fn over(&self, protocol: Protocol) -> Self {
        let mut config = Arc::clone(&self.config);
        Arc::make_mut(&mut config).alpn_protocols = alpn(protocol);
        Self { config, server_name: self.server_name.clone(), is_by_host: self.is_by_host, identity: self.identity }
    }

    /// The same for a request to this host, in whose name the backend has to show a certificate. `None`: the name does not depend on
    /// requests, or the host is no name.
    pub(crate) fn for_host(&self, host: &HeaderValue) -> Option<Arc<Self>> {
        if !self.is_by_host {
            return None;
        }
        let authority: Authority = host.to_str().ok()?.parse().ok()?;
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let mut digest = Digest(Xxh3::new());
        (self.identity, &name).hash(&mut digest);
        let server_name = ServerName::try_from(name).ok()?;
        Some(Arc::new(Self { config: Arc::clone(&self.config), server_name, is_by_host: false, identity: digest.0.digest128() }))
    }

    /// The name of the server at an address: the address itself where a request's host would be it.
    pub(crate) fn name_at(&self, address: SocketAddr) -> ServerName<'static> {
        if self.is_by_host { address.ip().into() } else { self.server_name.clone() }
    }

    /// Whether it was made from settings equal to these.
    pub(crate) fn is_made_from(&self, settings: &UpstreamTls) -> bool {
        self.identity == identity(settings)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

fn resolver(certificate: &Arc<CertifiedKey>) -> Arc<dyn ResolvesClientCert> {
    Arc::new(SingleCertAndKey::from(Arc::clone(certificate)))
}

/// Digest of every setting that decides who the peer is: tells connections apart.
pub(crate) fn identity(settings: &UpstreamTls) -> u128 {
    let mut digest = Digest(Xxh3::new());
    (&settings.sni, settings.is_by_host).hash(&mut digest);
    for name in &settings.names {
        let (kind, name) = match name {
            San::Hostname(name) => (0u8, name),
            San::Uri(name) => (1, name),
        };
        (kind, name).hash(&mut digest);
    }
    match &settings.roots {
        Roots::System => 0u8.hash(&mut digest),
        Roots::Certificates(certificates) => (1u8, certificates).hash(&mut digest),
    }
    settings.insecure_skip_verify.hash(&mut digest);
    settings.client_certificate.as_ref().map(|certificate| &certificate.cert).hash(&mut digest);
    (settings.min_version as u8, settings.max_version as u8).hash(&mut digest);
    digest.0.digest128()
}

struct Digest(Xxh3);

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0.digest()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

/// The protocols that a connection offers.
fn alpn(protocol: Protocol) -> Vec<Vec<u8>> {
    match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
        Protocol::Opaque => Vec::new(),
    }
}
