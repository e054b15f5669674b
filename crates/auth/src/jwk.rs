//! Sets of keys. Sources: RFC 7517, RFC 7518 section 6, RFC 8037.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ring::{error::Unspecified, hmac, signature};
use serde_json::{Map, Value};

use crate::{
    algorithm::{Algorithm, PublicKeyAlgorithm},
    roca,
};

/// Most keys of a set that are used.
const MAX_KEYS: usize = 256;
/// Least length of an RSA modulus, in bytes: what ring verifies with, and RFC 7518 section 3.3 asks for.
const MIN_RSA: usize = 2048 / 8;
/// Most, in bytes.
const MAX_RSA: usize = 8192 / 8;

/// Keys that signatures are verified with.
pub struct JwkSet {
    keys: Vec<Jwk>,
    skipped: Vec<(usize, JwkError)>,
    id: u64,
}

/// One key.
pub(crate) struct Jwk {
    pub(crate) id: Option<Box<str>>,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) material: KeyMaterial,
}

pub(crate) enum KeyMaterial {
    Rsa { modulus: Box<[u8]>, exponent: Box<[u8]> },
    P256([u8; 65]),
    P384([u8; 97]),
    Ed25519([u8; 32]),
    Symmetric(Box<[u8]>),
}

/// A set without a single key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkSetError {
    /// The text is no JSON object with a list `keys`.
    #[error("the key set is no JSON object with a list keys (RFC 7517)")]
    Form,
    /// No key can be used. With the place of the first that cannot, counted from 0, and the reason.
    #[error("the key set has no key that can be used{}", .0.as_ref().map(|(at, error)| format!(": keys[{at}]: {error}")).unwrap_or_default())]
    Empty(Option<(usize, JwkError)>),
}

/// A key that cannot be used. It does not quote the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// No JSON object.
    #[error("no object")]
    Form,
    /// A member that the type of key needs is missing or malformed.
    #[error("{0} is missing or malformed")]
    Member(&'static str),
    /// The type of key.
    #[error("kty is none of RSA, EC, OKP, oct")]
    Type,
    /// The curve.
    #[error("crv is none of P-256, P-384, Ed25519 (P-521 is not supported)")]
    Curve,
    /// Another use.
    #[error("use or key_ops name another use than signatures")]
    Use,
    /// Another algorithm than its type allows, or one that is not supported.
    #[error("alg does not fit the key, or is not supported")]
    Algorithm,
    /// An RSA modulus or exponent that is not safe.
    #[error("an RSA key needs a modulus of 2048 to 8192 bits and an odd exponent of 3 or more")]
    WeakRsa,
    /// A symmetric key shorter than the hash (RFC 7518, section 3.2).
    #[error("a symmetric key needs 32 bytes, 48 for HS384, 64 for HS512")]
    Short,
}

impl JwkSet {
    /// Reads a set. Keys that cannot be used are skipped (RFC 7517, section 5), so that one key of a new kind closes nothing.
    ///
    /// # Errors
    /// No key can be used.
    pub fn parse(text: &[u8]) -> Result<Self, JwkSetError> {
        let set: Value = serde_json::from_slice(text).map_err(|_| JwkSetError::Form)?;
        let list = set.get("keys").and_then(Value::as_array).ok_or(JwkSetError::Form)?;
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (at, key) in list.iter().take(MAX_KEYS).enumerate() {
            match Jwk::read(key) {
                Ok(key) => keys.push(key),
                Err(error) => skipped.push((at, error)),
            }
        }
        if keys.is_empty() {
            return Err(JwkSetError::Empty(skipped.first().copied()));
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Self { keys, skipped, id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// Keys that cannot be used, by their place from 0, with the reason.
    pub fn skipped(&self) -> &[(usize, JwkError)] {
        &self.skipped
    }

    /// Distinguishes sets within this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Keys for a token: those of its key id, those without one, and all if it names none.
    pub(crate) fn candidates<'s>(&'s self, id: Option<&'s str>, algorithm: Algorithm) -> impl Iterator<Item = &'s Jwk> {
        self.keys.iter().filter(move |key| {
            let is_named = match (id, &key.id) {
                (Some(id), Some(own)) => **own == *id,
                _ => true,
            };
            is_named && key.algorithm.is_none_or(|own| own == algorithm) && key.material.takes(algorithm)
        })
    }
}

impl fmt::Debug for JwkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| (key.material.kind(), &key.id))).finish()
    }
}

impl Jwk {
    fn read(value: &Value) -> Result<Self, JwkError> {
        let members = value.as_object().ok_or(JwkError::Form)?;
        let material = KeyMaterial::read(members)?;
        check_use(members)?;
        let named = members.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        if let KeyMaterial::Symmetric(key) = &material
            && key.len() < named.map_or(32, Algorithm::hash_length)
        {
            return Err(JwkError::Short);
        }
        let algorithm = match members.get("alg") {
            None => None,
            Some(_) => Some(named.filter(|it| material.takes(*it)).ok_or(JwkError::Algorithm)?),
        };
        let id = match members.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(JwkError::Member("kid"))?.into()),
        };
        Ok(Self { id, algorithm, material })
    }
}

impl KeyMaterial {
    fn read(members: &Map<String, Value>) -> Result<Self, JwkError> {
        let text = |name: &'static str| members.get(name).and_then(Value::as_str).ok_or(JwkError::Member(name));
        match text("kty")? {
            "RSA" => rsa(bytes(members, "n")?, bytes(members, "e")?),
            "EC" => match text("crv")? {
                "P-256" => point(members, 32).map(Self::P256),
                "P-384" => point(members, 48).map(Self::P384),
                _ => Err(JwkError::Curve),
            },
            "OKP" => match text("crv")? {
                "Ed25519" => bytes(members, "x")?.try_into().map(Self::Ed25519).map_err(|_| JwkError::Member("x")),
                _ => Err(JwkError::Curve),
            },
            "oct" => bytes(members, "k").map(|key| Self::Symmetric(key.into())),
            _ => Err(JwkError::Type),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RSA",
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::Ed25519(_) => "Ed25519",
            Self::Symmetric(_) => "oct",
        }
    }

    /// Whether it verifies signatures of this algorithm. No algorithm is for two types: a public key is never the secret of a hash.
    fn takes(&self, algorithm: Algorithm) -> bool {
        use Algorithm as A;
        match self {
            Self::Rsa { .. } => matches!(algorithm, A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512),
            Self::P256(_) => algorithm == A::Es256,
            Self::P384(_) => algorithm == A::Es384,
            Self::Ed25519(_) => algorithm == A::EdDsa,
            Self::Symmetric(key) => matches!(algorithm, A::Hs256 | A::Hs384 | A::Hs512) && key.len() >= algorithm.hash_length(),
        }
    }

    /// Whether a signature of a message is right.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.takes(algorithm) {
            return false;
        }
        let with = |key: &[u8]| match algorithm.with_public_key() {
            Some(PublicKeyAlgorithm::Other(algorithm)) => {
                signature::UnparsedPublicKey::new(algorithm, key).verify(message, signature)
            }
            _ => Err(Unspecified),
        };
        let verified = match self {
            Self::Rsa { modulus, exponent } => match algorithm.with_public_key() {
                Some(PublicKeyAlgorithm::Rsa(parameters)) => {
                    let key = signature::RsaPublicKeyComponents { n: &modulus[..], e: &exponent[..] };
                    key.verify(parameters, message, signature)
                }
                _ => Err(Unspecified),
            },
            Self::P256(key) => with(key),
            Self::P384(key) => with(key),
            Self::Ed25519(key) => with(key),
            Self::Symmetric(key) => match algorithm.with_symmetric_key() {
                Some(hash) => hmac::verify(&hmac::Key::new(hash, key), message, signature),
                None => Err(Unspecified),
            },
        };
        verified.is_ok()
    }
}

fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Result<KeyMaterial, JwkError> {
    let strip = |bytes: Vec<u8>| -> Box<[u8]> { bytes.iter().copied().skip_while(|byte| *byte == 0).collect() };
    let (modulus, exponent) = (strip(modulus), strip(exponent));
    let is_strong = (MIN_RSA..=MAX_RSA).contains(&modulus.len())
        && (modulus.len() > MIN_RSA || modulus[0] & 0x80 != 0)
        && modulus.last().is_some_and(|byte| byte & 1 == 1);
    let is_odd = exponent.last().is_some_and(|byte| byte & 1 == 1);
    let is_sane = is_odd && *exponent != [1] && exponent.len() <= 4;
    if is_strong && is_sane && !roca::is_weak(&modulus) {
        Ok(KeyMaterial::Rsa { modulus, exponent })
    } else {
        Err(JwkError::WeakRsa)
    }
}

/// A point in the uncompressed form. Whether it lies on the curve shows when it is used.
fn point<const LENGTH: usize>(members: &Map<String, Value>, size: usize) -> Result<[u8; LENGTH], JwkError> {
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = bytes(members, name)?;
        if coordinate.len() != size {
            return Err(JwkError::Member(name));
        }
        point.extend(coordinate);
    }
    point.try_into().map_err(|_| JwkError::Member("x"))
}

/// Base64url without padding is the standard's; issuers that write padding or the other alphabet are understood.
fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, JwkError> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const ENGINES: [GeneralPurpose; 2] = [GeneralPurpose::new(&URL_SAFE, CONFIG), GeneralPurpose::new(&STANDARD, CONFIG)];
    let text = members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or(JwkError::Member(name))?;
    ENGINES.iter().find_map(|engine| engine.decode(text).ok()).ok_or(JwkError::Member(name))
}

fn check_use(members: &Map<String, Value>) -> Result<(), JwkError> {
    let is_signature = members.get("use").is_none_or(|value| value == "sig");
    let operations = members.get("key_ops").and_then(Value::as_array);
    let can_verify = operations.is_none_or(|list| list.iter().any(|operation| operation == "verify"));
    if is_signature && can_verify { Ok(()) } else { Err(JwkError::Use) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(key: Value) -> JwkError {
        match JwkSet::parse(json!({"keys": [key]}).to_string().as_bytes()) {
            Err(JwkSetError::Empty(Some((0, error)))) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_that_cannot_be_used_say_why() {
        let x = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (key, expected) in [
            (json!(1), JwkError::Form),
            (json!({"kty": "x"}), JwkError::Type),
            (json!({}), JwkError::Member("kty")),
            (json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), JwkError::WeakRsa),
            (json!({"kty": "RSA", "e": "AQAB"}), JwkError::Member("n")),
            (json!({"kty": "EC", "crv": "P-521", "x": x, "y": x}), JwkError::Curve),
            (json!({"kty": "EC", "crv": "P-256", "x": x, "y": "AA"}), JwkError::Member("y")),
            (json!({"kty": "OKP", "crv": "X25519", "x": x}), JwkError::Curve),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "enc"}), JwkError::Use),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": x, "key_ops": ["sign"]}), JwkError::Use),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "RS256"}), JwkError::Algorithm),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": 1}), JwkError::Member("kid")),
            (json!({"kty": "oct", "k": "c2hvcnQ"}), JwkError::Short),
            (json!({"kty": "oct", "k": x, "alg": "HS512"}), JwkError::Short),
        ] {
            assert_eq!(error(key.clone()), expected, "{key}");
        }
    }

    #[test]
    fn one_key_that_cannot_be_used_leaves_the_others() {
        let set = json!({"keys": [{"kty": "EC", "crv": "P-521"}, {"kty": "oct", "k": "a".repeat(64)}]}).to_string();
        let set = JwkSet::parse(set.as_bytes()).unwrap();
        assert_eq!(set.skipped(), [(0, JwkError::Curve)]);
        assert_eq!(format!("{set:?}"), r#"[("oct", None)]"#);
        assert_eq!(JwkSet::parse(b"{\"keys\":[]}").unwrap_err(), JwkSetError::Empty(None));
        assert_eq!(JwkSet::parse(b"[]").unwrap_err(), JwkSetError::Form);
    }
}
