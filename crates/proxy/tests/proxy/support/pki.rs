//! Authorities, certificates and the objects that hold them.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// An authority. All are of one name, as some generators have it, so that nothing but the key tells them apart.
pub(crate) struct Authority {
    pub(crate) der: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Leaf {
    pub(crate) der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// A certificate with these names: host names, and URIs where there is a scheme.
    pub(crate) fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_for(names, &[])
    }

    /// The same, for these purposes alone where there are any.
    pub(crate) fn issue_for(&self, names: &[&str], purposes: &[ExtendedKeyUsagePurpose]) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.contains("://") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        params.extended_key_usages = purposes.to_vec();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { der: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// A ConfigMap with the authority.
    pub(crate) fn config_map(&self, name: &str) -> String {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  ca.crt: |\n{}", indented(&self.pem))
    }

    /// A client that trusts the authority, and shows a certificate where it has one.
    pub(crate) fn client(&self, certificate: Option<&Leaf>, alpn: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = match certificate {
            Some(leaf) => builder.with_client_auth_cert(vec![leaf.der.clone()], leaf.private()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Arc::new(config)
    }
}

impl Leaf {
    /// A Secret with the certificate and its key.
    pub(crate) fn secret(&self, name: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  \
             tls.key: |\n{}",
            indented(&self.pem),
            indented(&self.key.serialize_pem())
        )
    }

    /// The key.
    pub(crate) fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}

/// A short name for a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let mut hasher = DefaultHasher::new();
    certificate.as_ref().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
