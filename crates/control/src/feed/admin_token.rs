//! Tokens by which the controller reads the admin endpoints of proxies.
//!
//! The feed's authority signs them, and every proxy has its certificate. So the controller needs to write no Secret beside Gateways, no proxy
//! and nobody in a Gateway's namespace can make a token, and a token that one Gateway's proxies got is of no use at another's.

use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pailou_snapshot::Name;
use rcgen::{KeyPair, SigningKey as _};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use webpki::{EndEntityCert, ring::ECDSA_P256_SHA256};

/// How long a token holds: nodes' clocks may differ by as much.
const LIFE: Duration = Duration::from_secs(300);
/// The longest end of a token that is believed, from now on.
const MAX_LIFE: Duration = Duration::from_secs(3600);
/// Begins each token, and says what else follows: the end in seconds since 1970, and the signature in hexadecimal digits.
const PREFIX: &str = "pailou-admin.";
/// Most digits of a signature.
const MAX_SIGNATURE: usize = 256;

/// Signs tokens with the authority's key.
pub struct AdminSigner(pub(super) KeyPair);

impl AdminSigner {
    /// A token for the proxies of this Gateway; `None` where the key does not sign.
    pub fn token(&self, gateway: &Name, now: SystemTime) -> Option<String> {
        let end = (now + LIFE).duration_since(UNIX_EPOCH).ok()?.as_secs();
        let signature = self.0.sign(&message(gateway, end)).ok()?;
        let mut token = format!("{PREFIX}{end}.");
        for byte in signature {
            let _ = write!(token, "{byte:02x}");
        }
        Some(token)
    }
}

impl std::fmt::Debug for AdminSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminSigner")
    }
}

/// Knows the controller by its tokens.
#[derive(Clone, Debug)]
pub struct AdminVerifier {
    /// The Gateway whose proxy asks.
    pub gateway: Name,
    /// PEM file with the feed's authorities, read for each token that might be one.
    pub authorities: PathBuf,
}

impl AdminVerifier {
    /// Whether a token is the controller's, for this Gateway, and holds now.
    pub fn is_valid(&self, token: &str, now: SystemTime) -> bool {
        self.check(token, now).is_some()
    }

    fn check(&self, token: &str, now: SystemTime) -> Option<()> {
        let (end, signature) = token.strip_prefix(PREFIX)?.split_once('.')?;
        let end: u64 = end.parse().ok()?;
        let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        if end < now || end > now + MAX_LIFE.as_secs() {
            return None;
        }
        let signature = bytes(signature)?;
        let message = message(&self.gateway, end);
        let pem = std::fs::read(&self.authorities).ok()?;
        let is_signed_by = |authority: CertificateDer<'_>| {
            let certificate = EndEntityCert::try_from(&authority).ok()?;
            certificate.verify_signature(ECDSA_P256_SHA256, &message, &signature).ok()
        };
        CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).find_map(is_signed_by)
    }
}

/// The text that is signed. No certificate begins like it.
fn message(gateway: &Name, end: u64) -> Vec<u8> {
    format!("pailou admin token 1\n{gateway}\n{end}\n").into_bytes()
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let is_digits =
        digits.len() <= MAX_SIGNATURE && digits.len().is_multiple_of(2) && digits.bytes().all(|it| it.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    is_digits.then(|| (0..digits.len()).step_by(2).map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::{super::authority::Authority, *};

    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pailou-admin-token-{}-{name}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_token_is_good_at_one_gateway_for_a_while_and_with_its_authority_alone() {
        let now = SystemTime::now();
        let (authority, other) = (Authority::new(now, "").unwrap(), Authority::new(now, "").unwrap());
        let file = File::new("authorities", &format!("{}{}", other.certificates, authority.certificates));
        let strangers = File::new("strangers", &other.certificates);
        let signer = AdminSigner(authority.key);
        let gateway = Name::new("shop", "web");
        let token = signer.token(&gateway, now).unwrap();
        let of = |gateway: &Name, file: &File| AdminVerifier { gateway: gateway.clone(), authorities: file.0.clone() };
        let verifier = of(&gateway, &file);
        assert!(verifier.is_valid(&token, now) && verifier.is_valid(&token, now + LIFE - Duration::from_secs(1)));
        assert!(!verifier.is_valid(&token, now + LIFE + Duration::from_secs(2)), "it has ended");
        assert!(!of(&Name::new("shop", "other"), &file).is_valid(&token, now), "it is for another Gateway");
        assert!(!of(&gateway, &strangers).is_valid(&token, now), "another authority signs");
        let missing = AdminVerifier { gateway: gateway.clone(), authorities: "/nowhere".into() };
        assert!(!missing.is_valid(&token, now), "without authorities nobody is the controller");
        let later = token.replacen(PREFIX, &format!("{PREFIX}1"), 1);
        let (head, digits) = token.rsplit_once('.').unwrap();
        for wrong in
            ["", "pailou-admin.", "pailou-admin.1.", &later, head, &format!("{head}.{}", &digits[2..]), &format!("{head}.zz")]
        {
            assert!(!verifier.is_valid(wrong, now), "{wrong}");
        }
        assert!(!verifier.is_valid(&signer.token(&gateway, now + MAX_LIFE).unwrap(), now), "nobody makes one that long");
    }
}
