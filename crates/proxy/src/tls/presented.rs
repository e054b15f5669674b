//! Certificate that a client presented, as far as backends may be told of it.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

use http::HeaderValue;
use pailou_snapshot::ClientCertDetails;
use rustls::{crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256, sign::CertifiedKey};
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::distinguished_name;

/// A verified certificate of a client, with the chain that it came with.
#[derive(Debug)]
pub(crate) struct PresentedCertificate {
    chain: Vec<CertificateDer<'static>>,
    /// The gateway's own, of which the client was shown one by this server name.
    own: Vec<Arc<CertifiedKey>>,
    sni: Option<Arc<str>>,
    /// The last element made: the listener's policy rarely changes while a connection lives.
    element: OnceLock<(ClientCertDetails, Option<HeaderValue>)>,
}

impl PresentedCertificate {
    /// The chain that a client presented to a listener with these certificates, by this server name.
    pub(crate) fn new(chain: &[CertificateDer<'_>], own: &[Arc<CertifiedKey>], sni: Option<Arc<str>>) -> Self {
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Self { chain, own: own.to_vec(), sni, element: OnceLock::new() }
    }

    /// The element of `X-Forwarded-Client-Cert` that describes it, as Envoy writes it: `By` if the gateway's certificate has a URI, `Hash`,
    /// and the details asked for. `None` where the certificate cannot be read.
    pub(crate) fn element(&self, details: ClientCertDetails) -> Option<HeaderValue> {
        let (made_for, element) = self.element.get_or_init(|| (details, self.describe(details)));
        if *made_for == details { element.clone() } else { self.describe(details) }
    }

    fn describe(&self, details: ClientCertDetails) -> Option<HeaderValue> {
        let leaf = self.chain.first()?;
        let read = EndEntityCert::try_from(leaf).ok()?;
        let mut out = String::new();
        for uri in own_uris(&self.own, self.sni.as_deref()) {
            let _ = write!(out, "By={uri};");
        }
        out.push_str("Hash=");
        for byte in sha256(leaf) {
            let _ = write!(out, "{byte:02x}");
        }
        if details.cert {
            let _ = write!(out, ";Cert=\"{}\"", pem(leaf));
        }
        if details.chain {
            let _ = write!(out, ";Chain=\"{}\"", self.chain.iter().map(pem).collect::<String>());
        }
        if details.subject {
            let _ = write!(out, ";Subject=\"{}\"", distinguished_name::text(read.subject())?);
        }
        if details.uri {
            for uri in read.valid_uri_names() {
                let _ = write!(out, ";URI={}", unambiguous(uri));
            }
        }
        if details.dns {
            for name in read.valid_dns_names() {
                let _ = write!(out, ";DNS={}", unambiguous(name));
            }
        }
        HeaderValue::try_from(out).ok()
    }
}

/// URIs of the certificate that a client was shown.
fn own_uris(own: &[Arc<CertifiedKey>], sni: Option<&str>) -> Vec<String> {
    let leaves: Vec<_> = own.iter().filter_map(|key| EndEntityCert::try_from(key.cert.first()?).ok()).collect();
    let bears = |leaf: &&EndEntityCert<'_>| {
        let name = sni.and_then(|sni| sni.try_into().ok());
        name.is_some_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    };
    let shown = leaves.iter().find(bears).or(leaves.first());
    shown.into_iter().flat_map(|leaf| leaf.valid_uri_names()).map(unambiguous).collect()
}

/// A name that cannot be taken for more than one: what separates fields and elements is escaped (RFC 3986, 2.1).
fn unambiguous(name: &str) -> String {
    name.replace(',', "%2C").replace(';', "%3B").replace('"', "%22")
}

/// The SHA-256 digest, by the one library of cryptography.
pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13();
    suite.map(|suite| suite.common.hash_provider.hash(bytes).as_ref().to_vec()).unwrap_or_default()
}

/// A certificate in PEM, with the characters escaped that Envoy escapes.
fn pem(certificate: &CertificateDer<'_>) -> String {
    let mut out = "-----BEGIN%20CERTIFICATE-----%0A".to_owned();
    for line in certificate.chunks(48) {
        line.chunks(3).for_each(|group| base64(group, &mut out));
        out.push_str("%0A");
    }
    out + "-----END%20CERTIFICATE-----%0A"
}

/// Appends up to three bytes in base64 (RFC 4648, 4).
fn base64(group: &[u8], out: &mut String) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = group.iter().chain(&[0, 0]).take(3).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    for place in 0..4 {
        match LETTERS[(bits >> (18 - 6 * place)) as usize & 63] {
            _ if place > group.len() => out.push_str("%3D"),
            b'+' => out.push_str("%2B"),
            b'/' => out.push_str("%2F"),
            letter => out.push(letter.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_the_standard_has_it_and_escaped() {
        for (bytes, expected) in [("f", "Zg%3D%3D"), ("fo", "Zm8%3D"), ("foo", "Zm9v"), ("\u{3fb}", "z7s%3D")] {
            let mut out = String::new();
            base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        base64(&[0xfb, 0xff, 0xfe], &mut out);
        assert_eq!(out, "%2B%2F%2F%2B");
    }

    #[test]
    fn a_hash_is_sha_256() {
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn separators_in_names_do_not_separate() {
        assert_eq!(unambiguous("spiffe://a/b;URI=spiffe://c,By=d\""), "spiffe://a/b%3BURI=spiffe://c%2CBy=d%22");
    }
}
