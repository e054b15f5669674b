//! JSON Web Tokens of a load, and the key set that verifies them.

use std::{cell::OnceCell, io, process::Command};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};

/// Issuer of all tokens; the gateways' configuration names it.
const ISSUER: &str = "https://bench.example.com";

/// An RSA key of the run and the tokens that it signed. Key and tokens are made when a workload first needs them.
#[derive(Default)]
pub(crate) struct Tokens {
    key: OnceCell<RsaKeyPair>,
    signed: OnceCell<Vec<String>>,
}

impl Tokens {
    /// The key set, in JSON on one line.
    ///
    /// # Errors
    /// `openssl`, which makes the key, is missing or fails.
    pub(crate) fn key_set(&self) -> io::Result<String> {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.key()?.public());
        let [n, e] = [public.n, public.e].map(|number| URL_SAFE_NO_PAD.encode(number));
        Ok(format!(r#"{{"keys":[{{"kty":"RSA","alg":"RS256","kid":"bench","n":"{n}","e":"{e}"}}]}}"#))
    }

    /// So many tokens, each for another subject.
    ///
    /// # Errors
    /// As [`Self::key_set`].
    pub(crate) fn first(&self, count: usize) -> io::Result<Vec<String>> {
        let kept = self.signed.get().filter(|kept| kept.len() >= count);
        if let Some(kept) = kept {
            return Ok(kept[..count].to_vec());
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let key = self.key()?;
        let signed: Vec<String> = (0..count).map(|number| sign(key, number)).collect::<io::Result<_>>()?;
        // The workload with many comes once a round: it alone is worth keeping.
        if count > 1 {
            let _ = self.signed.set(signed.clone());
        }
        Ok(signed)
    }

    fn key(&self) -> io::Result<&RsaKeyPair> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let mut openssl = Command::new("openssl");
        openssl.args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-outform", "DER"]);
        let output = openssl.output().map_err(|source| io::Error::new(source.kind(), format!("openssl: {source}")))?;
        if !output.status.success() {
            return Err(io::Error::other(format!("openssl: {}", String::from_utf8_lossy(&output.stderr))));
        }
        // OpenSSL 3.0 writes PKCS #1, later ones PKCS #8.
        let key = RsaKeyPair::from_der(&output.stdout).or_else(|_| RsaKeyPair::from_pkcs8(&output.stdout));
        let key = key.map_err(|refused| io::Error::other(refused.to_string()))?;
        Ok(self.key.get_or_init(|| key))
    }
}

fn sign(key: &RsaKeyPair, number: usize) -> io::Result<String> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"bench"}"#);
    let claims = format!(r#"{{"iss":"{ISSUER}","aud":"models","sub":"user-{number}","exp":4102444800}}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| io::Error::other("a token cannot be signed"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_are_kept() {
        let tokens = Tokens::default();
        let few = tokens.first(3).unwrap();
        assert!(few[0] != few[1] && few[1] != few[2]);
        assert_eq!(tokens.first(2).unwrap(), few[..2]);
        assert!(tokens.key_set().unwrap().starts_with(r#"{"keys":[{"kty":"RSA""#));
    }
}
