//! The server's certificate: made at the start, as pickers do, or read from files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::{ServerConfig, crypto::ring, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

/// Files longer than this are no certificates, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Source of the certificate.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// Made at the start, signed by itself, for these host names. Proxies cannot verify it, and are not to try.
    SelfSigned(Vec<String>),
    /// `tls.crt` and `tls.key` in this directory, in PEM, as a mounted Secret has them. A file that changes is live within seconds.
    Directory(PathBuf),
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds nothing of what it should.
    #[error("{} has no {what} in PEM", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The expected content.
        what: &'static str,
    },
    /// Key and certificate cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The library cannot make it.
    #[error("cannot make a certificate: {0}")]
    Unmakeable(#[from] rcgen::Error),
}

/// The library's configuration: HTTP/2 in TLS 1.2 or 1.3.
pub(crate) fn config(certificate: &Certificate) -> Result<Arc<ServerConfig>, CertificateError> {
    let (chain, key) = match certificate {
        Certificate::SelfSigned(names) => self_signed(names)?,
        Certificate::Directory(path) => from_files(path)?,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn self_signed(names: &[String]) -> Result<Pair, CertificateError> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "Pailou endpoint picker");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

fn from_files(directory: &Path) -> Result<Pair, CertificateError> {
    let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(&certificate)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or(CertificateError::Empty { path: certificate, what: "certificate" })?;
    let pem = read(&key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| CertificateError::Empty { path: key, what: "private key" })?;
    Ok((chain, key))
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    use io::Read;
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    let mut content = Vec::new();
    fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut content)).map_err(failed)?;
    Ok(content)
}
