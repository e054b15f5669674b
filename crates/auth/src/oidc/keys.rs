//! Keys of one policy's cookies, derived from a secret that all replicas share.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::SHA256_OUTPUT_LEN,
    hmac,
};

/// Least length of the secret, in bytes.
const MIN_SECRET: usize = 32;

/// Keys that seal cookies and vouch for them. Those of another policy, issuer or client are different, so that a cookie is worth nothing there.
pub struct OidcKeys {
    seal: LessSafeKey,
    nonce: hmac::Key,
    mac: hmac::Key,
}

/// The secret is too short to derive keys from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret of at least {MIN_SECRET} random bytes is needed")]
pub struct ShortSecret;

impl OidcKeys {
    /// Derives the keys for cookies of a context: policy, issuer, client.
    ///
    /// # Errors
    /// The secret has less than 32 bytes.
    pub fn derive(secret: &[u8], context: &[&str]) -> Result<Self, ShortSecret> {
        if secret.len() < MIN_SECRET {
            return Err(ShortSecret);
        }
        // HKDF (RFC 5869) with one block each, whose names are the labels.
        let salt = hmac::Key::new(hmac::HMAC_SHA256, b"pailou oidc 1");
        let secret = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&salt, secret).as_ref());
        let derive = |label: &str| {
            let context = context.iter().map(|part| part.as_bytes());
            sign(&secret, std::iter::once(label.as_bytes()).chain(context))
        };
        let seal = UnboundKey::new(&AES_256_GCM, &derive("seal")).map_err(|_| ShortSecret)?;
        Ok(Self {
            seal: LessSafeKey::new(seal),
            nonce: hmac::Key::new(hmac::HMAC_SHA256, &derive("nonce")),
            mac: hmac::Key::new(hmac::HMAC_SHA256, &derive("mac")),
        })
    }

    /// Encrypts a text for a cookie. Whatever `bound` says has to be the same when it is opened. The nonce is made of both, so that it comes again
    /// with the same text alone.
    pub(super) fn seal(&self, bound: [&str; 2], text: &str) -> Option<String> {
        let parts = bound.iter().map(|part| part.as_bytes()).chain([text.as_bytes()]);
        let nonce: [u8; NONCE_LEN] = sign(&self.nonce, parts).first_chunk().copied()?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + text.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(text.as_bytes());
        let aad = Aad::from(aad(bound));
        self.seal.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        sealed.splice(0..0, nonce);
        Some(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Decrypts such a text; `None` if anything of it, or of what it is bound to, is different.
    pub(super) fn open(&self, bound: [&str; 2], sealed: &str) -> Option<String> {
        let mut sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let nonce: [u8; NONCE_LEN] = sealed.first_chunk().copied()?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let text = self.seal.open_within(nonce, Aad::from(aad(bound)), &mut sealed, NONCE_LEN..).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }

    /// HMAC-SHA256 of parts.
    pub(super) fn mac(&self, purpose: &str, parts: &[&str]) -> [u8; SHA256_OUTPUT_LEN] {
        sign(&self.mac, std::iter::once(purpose.as_bytes()).chain(parts.iter().map(|part| part.as_bytes())))
    }
}

fn aad([name, host]: [&str; 2]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(name.len() + host.len() + 1);
    aad.extend_from_slice(name.as_bytes());
    aad.push(0);
    aad.extend_from_slice(host.as_bytes());
    aad
}

/// HMAC-SHA256 of parts, each with its length: no part can take bytes of the next.
fn sign<'p>(key: &hmac::Key, parts: impl Iterator<Item = &'p [u8]>) -> [u8; SHA256_OUTPUT_LEN] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

impl fmt::Debug for OidcKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(context: &[&str]) -> OidcKeys {
        OidcKeys::derive(&[7; 32], context).unwrap()
    }

    #[test]
    fn a_sealed_text_opens_where_it_belongs_and_nowhere_else() {
        let sealed = keys(&["a"]).seal(["IdToken", "host"], "text").unwrap();
        assert_eq!(keys(&["a"]).open(["IdToken", "host"], &sealed).as_deref(), Some("text"));
        assert_eq!(keys(&["a"]).open(["AccessToken", "host"], &sealed), None);
        assert_eq!(keys(&["a"]).open(["IdToken", "other"], &sealed), None);
        assert_eq!(keys(&["b"]).open(["IdToken", "host"], &sealed), None);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys(&["a"]).open(["IdToken", "host"], std::str::from_utf8(&altered).unwrap()), None, "{at}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let keys = keys(&[]);
        assert_ne!(keys.mac("p", &["ab", "c"]), keys.mac("p", &["a", "bc"]));
        assert_eq!(OidcKeys::derive(&[7; 31], &[]).unwrap_err(), ShortSecret);
    }
}
