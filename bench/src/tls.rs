//! Certificates of a run, and what load and engine speak TLS with.

use std::{fs, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    error::Error,
    template::{Certificates, HOST},
};

/// Both ends' TLS.
pub(crate) struct Tls {
    pub(crate) connector: TlsConnector,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) certificates: Certificates,
}

impl Tls {
    /// A new authority and its certificate for the bench's host name, in files of the directory in the form that gateways read.
    ///
    /// # Errors
    /// They cannot be made or written.
    pub(crate) fn new(directory: &Path) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let mut certificate = CertificateParams::new(vec![HOST.to_owned()])?;
        // A certificate of its authority's name would count as self-signed.
        certificate.distinguished_name.push(DnType::CommonName, HOST);
        let certificate = certificate.signed_by(&key, &authority)?;

        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let server = server.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private)?;
        let this = Self {
            connector: Arc::new(client.with_root_certificates(roots).with_no_client_auth()).into(),
            acceptor: Arc::new(server).into(),
            certificates: Certificates { ca: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() },
        };
        this.write(directory)?;
        Ok(this)
    }

    fn write(&self, directory: &Path) -> Result<(), Error> {
        let Certificates { ca, certificate, key } = &self.certificates;
        let both = [&**certificate, key].concat();
        for (name, text) in [("ca.pem", ca), ("certificate.pem", certificate), ("key.pem", key), ("certificate-and-key.pem", &both)]
        {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|source| Error::Write { path, source })?;
        }
        Ok(())
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
