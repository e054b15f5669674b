//! Tokens by which the controller reads the admin endpoints of proxies.
//!
//! The feed's authority signs them, and every proxy has its certificate. So the controller needs to write no Secret beside Gateways, no proxy
//! and nobody in a Gateway's namespace can make a token. It names a pod: whoever has the controller send one elsewhere can use it nowhere.

use std::{
    fmt::Write as _,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pailou_snapshot::Name;
use rcgen::{KeyPair, SigningKey as _};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use webpki::{EndEntityCert, ring::ECDSA_P256_SHA256};

/// Lifetime of a token: nodes' clocks may differ by as much.
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
    /// A token for one pod that serves this Gateway; `None` where the key does not sign.
    pub fn token(&self, gateway: &Name, pod: &Name, now: SystemTime) -> Option<String> {
        let end = (now + LIFE).duration_since(UNIX_EPOCH).ok()?.as_secs();
        let signature = self.0.sign(&message(gateway, pod, end)).ok()?;
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
#[derive(Debug)]
pub struct AdminVerifier {
    /// The Gateway that this proxy serves.
    gateway: Name,
    /// Its pod.
    pod: Name,
    /// PEM file with the feed's authorities.
    authorities: PathBuf,
    /// Content of the file as last read.
    kept: Mutex<Option<KeptAuthorities>>,
}

/// The feed's authorities, with what tells the file that they are from: modification in seconds and nanoseconds, inode, length in bytes.
#[derive(Clone, Debug)]
struct KeptAuthorities {
    file: (i64, i64, u64, u64),
    certificates: Arc<[CertificateDer<'static>]>,
}

impl AdminVerifier {
    /// Knows tokens for this pod that serves this Gateway, by the authorities of a PEM file, which is read again when it changes.
    pub fn new(gateway: Name, pod: Name, authorities: PathBuf) -> Self {
        Self { gateway, pod, authorities, kept: Mutex::new(None) }
    }

    /// Whether a token is the controller's, for this pod, and holds now.
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
        let message = message(&self.gateway, &self.pod, end);
        let is_signed_by = |authority: &CertificateDer<'_>| {
            let certificate = EndEntityCert::try_from(authority).ok()?;
            certificate.verify_signature(ECDSA_P256_SHA256, &message, &signature).ok()
        };
        self.certificates()?.iter().find_map(is_signed_by)
    }

    /// The authorities as the file has them now.
    fn certificates(&self) -> Option<Arc<[CertificateDer<'static>]>> {
        let metadata = std::fs::metadata(&self.authorities).ok()?;
        let file = (metadata.mtime(), metadata.mtime_nsec(), metadata.ino(), metadata.len());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.file == file) {
            return Some(kept.certificates.clone());
        }
        let pem = std::fs::read(&self.authorities).ok()?;
        let certificates: Arc<[_]> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
        *kept = Some(KeptAuthorities { file, certificates: certificates.clone() });
        Some(certificates)
    }
}

/// The text that is signed. No certificate begins like it.
fn message(gateway: &Name, pod: &Name, end: u64) -> Vec<u8> {
    format!("pailou admin token 2\n{gateway}\n{pod}\n{end}\n").into_bytes()
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
    fn a_token_is_good_at_one_pod_for_a_while_and_with_its_authority_alone() {
        let now = SystemTime::now();
        let (authority, other) = (Authority::new(now, "").unwrap(), Authority::new(now, "").unwrap());
        let file = File::new("authorities", &format!("{}{}", other.certificates, authority.certificates));
        let strangers = File::new("strangers", &other.certificates);
        let signer = AdminSigner(authority.key);
        let (gateway, pod) = (Name::new("shop", "web"), Name::new("shop", "web-1"));
        let token = signer.token(&gateway, &pod, now).unwrap();
        let of = |gateway: &Name, file: &File| AdminVerifier::new(gateway.clone(), pod.clone(), file.0.clone());
        let verifier = of(&gateway, &file);
        assert!(verifier.is_valid(&token, now) && verifier.is_valid(&token, now + LIFE - Duration::from_secs(1)));
        assert!(!verifier.is_valid(&token, now + LIFE + Duration::from_secs(2)), "it has ended");
        assert!(!of(&Name::new("shop", "other"), &file).is_valid(&token, now), "it is for another Gateway");
        assert!(!of(&gateway, &strangers).is_valid(&token, now), "another authority signs");
        let other_pod = AdminVerifier::new(gateway.clone(), Name::new("shop", "web-2"), file.0.clone());
        assert!(!other_pod.is_valid(&token, now), "it is for another pod");
        let missing = AdminVerifier::new(gateway.clone(), pod.clone(), "/nowhere".into());
        assert!(!missing.is_valid(&token, now), "without authorities nobody is the controller");
        let later = token.replacen(PREFIX, &format!("{PREFIX}1"), 1);
        let (head, digits) = token.rsplit_once('.').unwrap();
        for wrong in
            ["", "pailou-admin.", "pailou-admin.1.", &later, head, &format!("{head}.{}", &digits[2..]), &format!("{head}.zz")]
        {
            assert!(!verifier.is_valid(wrong, now), "{wrong}");
        }
        assert!(!verifier.is_valid(&signer.token(&gateway, &pod, now + MAX_LIFE).unwrap(), now), "nobody makes one that long");
    }

    #[test]
    fn authorities_are_read_once_and_again_when_the_file_changes() {
        let now = SystemTime::now();
        let authority = Authority::new(now, "").unwrap();
        let file = File::new("kept", &authority.certificates);
        let (gateway, pod) = (Name::new("shop", "web"), Name::new("shop", "web-1"));
        let verifier = AdminVerifier::new(gateway.clone(), pod.clone(), file.0.clone());
        let first = verifier.certificates().unwrap();
        assert!(Arc::ptr_eq(&first, &verifier.certificates().unwrap()), "the file is as it was");
        let next = Authority::new(now, "").unwrap();
        std::fs::write(&file.0, format!("{}{}", next.certificates, authority.certificates)).unwrap();
        let token = AdminSigner(next.key).token(&gateway, &pod, now).unwrap();
        assert!(verifier.is_valid(&token, now), "the next authority is there");
    }
}
