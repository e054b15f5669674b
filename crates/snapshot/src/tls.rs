//! TLS towards clients and towards backends, as settings; the proxy makes its library's configurations from them.

use std::{fmt, sync::Arc};

use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::ValueMatch;

/// TLS versions that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, the default minimum.
    V1_2,
    /// TLS 1.3, the default maximum.
    V1_3,
}

/// Certificates and versions of a terminating listener.
#[derive(Clone)]
pub struct ServerTls {
    /// The certificates to choose from by name, in the listener's order; never empty.
    pub certificates: Vec<Arc<CertifiedKey>>,
    /// Certificates that clients have to present; `None` asks them for none.
    pub client_certificates: Option<ClientCertificates>,
    /// The lowest version accepted.
    pub min_version: TlsVersion,
    /// The highest version accepted.
    pub max_version: TlsVersion,
    /// ALPN protocols offered, in order; `h2` and `http/1.1` unless configured.
    pub alpn: Vec<Vec<u8>>,
    /// Cipher suites allowed, by their IANA or OpenSSL names; empty means the library's own.
    pub ciphers: Vec<Arc<str>>,
}

/// Certificates are compared by themselves, without their keys: of a chain that is equal the key is too.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        let Self { certificates, client_certificates, min_version, max_version, alpn, ciphers } = self;
        certificates.iter().map(|it| &it.cert).eq(other.certificates.iter().map(|it| &it.cert))
            && *client_certificates == other.client_certificates
            && (min_version, max_version) == (&other.min_version, &other.max_version)
            && *alpn == other.alpn
            && *ciphers == other.ciphers
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificates", &self.certificates.len())
            .field("client_certificates", &self.client_certificates)
            .field("min_version", &self.min_version)
            .field("max_version", &self.max_version)
            .field("alpn", &self.alpn.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>())
            .field("ciphers", &self.ciphers)
            .finish()
    }
}

/// Certificates that clients have to present (Gateway `spec.tls.frontend`, ClientTrafficPolicy `tls.clientValidation`).
#[derive(Clone, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A certificate that is trusted: without it the handshake fails.
    Valid(Arc<ClientTrust>),
    /// The same, or none at all (`optional`).
    ValidOrNone(Arc<ClientTrust>),
    /// They are asked for a certificate, and let in with any or none (`AllowInsecureFallback`).
    Any,
}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid(trust) => write!(f, "Valid({trust:?})"),
            Self::ValidOrNone(trust) => write!(f, "ValidOrNone({trust:?})"),
            Self::Any => f.write_str("Any"),
        }
    }
}

/// Trust in clients' certificates. A certificate has to satisfy all that is set.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ClientTrust {
    /// Authorities that certificates come from. None only where digests are listed, which decide alone then.
    pub authorities: Arc<[CertificateDer<'static>]>,
    /// Lists of revoked certificates, of each authority of a chain if there are any. A list that is too old lets nobody in.
    pub revocations: Arc<[CertificateRevocationListDer<'static>]>,
    /// Only the client's own certificate is looked up in the lists, and no authority between.
    pub revocation_of_leaf_only: bool,
    /// SHA-256 digests of certificates that are accepted.
    pub certificate_digests: Vec<[u8; 32]>,
    /// SHA-256 digests of public keys (SubjectPublicKeyInfo) that are accepted. A certificate needs to be in one of the two lists.
    pub key_digests: Vec<[u8; 32]>,
    /// Names of which a certificate needs to bear one; none where any will do.
    pub names: Vec<AltNameMatch>,
}

impl ClientTrust {
    /// Trust in all certificates of these authorities.
    pub fn of_authorities(authorities: Arc<[CertificateDer<'static>]>) -> Self {
        Self { authorities, ..Self::default() }
    }

    /// Whether a certificate has to be one of those that are listed by digest.
    pub fn has_digests(&self) -> bool {
        !self.certificate_digests.is_empty() || !self.key_digests.is_empty()
    }
}

impl fmt::Debug for ClientTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.authorities.len())?;
        if !self.revocations.is_empty() {
            let extent = if self.revocation_of_leaf_only { " of leaves" } else { "" };
            write!(f, ", {} revocation lists{extent}", self.revocations.len())?;
        }
        if self.has_digests() {
            write!(f, ", {} certificates, {} keys", self.certificate_digests.len(), self.key_digests.len())?;
        }
        if !self.names.is_empty() {
            write!(f, ", {:?}", self.names)?;
        }
        Ok(())
    }
}

/// A condition on a subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltNameMatch {
    /// Kind of name.
    pub kind: AltNameKind,
    /// The name.
    pub value: ValueMatch,
}

/// Kinds of subject alternative names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AltNameKind {
    /// `dNSName`.
    Dns,
    /// `rfc822Name`.
    Email,
    /// `iPAddress`, in its canonical form.
    Ip,
    /// `uniformResourceIdentifier`.
    Uri,
    /// `otherName` of this type, in dotted numbers.
    Other(Arc<str>),
}

/// How a backend's certificate is checked. There is no default: plaintext is the absence of this value, never a failed one.
#[derive(Clone)]
pub struct UpstreamTls {
    /// The name sent as SNI.
    pub sni: Arc<str>,
    /// The host of a request takes the place of `sni`, where it has one (`Backend` `tls` without `sni`).
    pub is_by_host: bool,
    /// The names of which the certificate must bear at least one; empty for the name sent as SNI.
    pub names: Vec<San>,
    /// Authorities that are trusted.
    pub roots: Roots,
    /// Accept any certificate (`Backend` `tls.insecureSkipVerify`).
    pub insecure_skip_verify: bool,
    /// The certificate to present when asked for one.
    pub client_certificate: Option<Arc<CertifiedKey>>,
    /// The lowest version offered.
    pub min_version: TlsVersion,
    /// The highest version offered.
    pub max_version: TlsVersion,
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("sni", &self.sni)
            .field("is_by_host", &self.is_by_host)
            .field("names", &self.names)
            .field("roots", &self.roots)
            .field("insecure_skip_verify", &self.insecure_skip_verify)
            .field("client_certificate", &self.client_certificate.is_some())
            .field("min_version", &self.min_version)
            .field("max_version", &self.max_version)
            .finish()
    }
}

/// A subject alternative name to look for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum San {
    /// A DNS name.
    Hostname(Arc<str>),
    /// A URI, such as a SPIFFE identity; compared whole.
    Uri(Arc<str>),
}

/// Trusted authorities.
#[derive(Clone)]
pub enum Roots {
    /// The system's own (`wellKnownCACertificates: System`).
    System,
    /// Just these.
    Certificates(Arc<[CertificateDer<'static>]>),
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::Certificates(certificates) => write!(f, "Certificates({})", certificates.len()),
        }
    }
}
