//! Signed tokens in the compact form. Sources: RFC 7515, RFC 7518 section 3, RFC 8725.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::{algorithm::Algorithm, jwk::JwkSet, jwt_error::JwtError};

/// Longest token, in bytes. Heads of requests are bounded at about as much.
const MAX_TOKEN: usize = 64 * 1024;

/// A token, its signature not verified yet.
pub(crate) struct Token<'t> {
    algorithm: Algorithm,
    key_id: Option<Box<str>>,
    /// Header and payload as they were signed.
    message: &'t [u8],
    payload: &'t [u8],
    signature: Vec<u8>,
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl<'t> Token<'t> {
    /// Takes a token apart. Keys that its header brings or points to (`jwk`, `jku`, `x5c`, `x5u`) are never used.
    pub(crate) fn parse(token: &'t [u8]) -> Result<Self, JwtError> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(JwtError::Form);
        };
        if token.len() > MAX_TOKEN {
            return Err(JwtError::Form);
        }
        let message = &token[..header.len() + 1 + payload.len()];
        let header = BASE64_URL_SAFE_NO_PAD.decode(header).map_err(|_| JwtError::HeaderBase64)?;
        let UniqueObject(header) = serde_json::from_slice(&header).map_err(|_| JwtError::HeaderJson)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(JwtError::NoAlgorithm)?;
        let algorithm = Algorithm::parse(algorithm).ok_or(JwtError::Algorithm)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(JwtError::KeyId)?.into()),
        };
        // No extension is understood, so none may be critical (RFC 7515, section 4.1.11).
        if header.contains_key("crit") {
            return Err(JwtError::Critical);
        }
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtError::SignatureBase64)?;
        Ok(Self { algorithm, key_id, message, payload, signature })
    }

    /// The key that the token names.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Whether whoever can verify the token could have made it.
    pub(crate) fn is_symmetric(&self) -> bool {
        self.algorithm.with_symmetric_key().is_some()
    }

    /// The payload, which nobody has vouched for yet: to find out whose token it is.
    pub(crate) fn payload(&self) -> Result<Map<String, Value>, JwtError> {
        let payload = BASE64_URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| JwtError::PayloadBase64)?;
        let UniqueObject(payload) = serde_json::from_slice(&payload).map_err(|_| JwtError::PayloadJson)?;
        Ok(payload)
    }

    /// Compares the signature with the keys that may have made it.
    pub(crate) fn verify(&self, keys: &JwkSet) -> Result<(), JwtError> {
        let mut candidates = keys.candidates(self.key_id(), self.algorithm).peekable();
        if candidates.peek().is_none() {
            return Err(JwtError::NoKey);
        }
        match candidates.any(|key| key.material.verify(self.algorithm, self.message, &self.signature)) {
            true => Ok(()),
            false => Err(JwtError::Signature),
        }
    }
}

/// A JSON object whose members have different names: of two of one name, two readers might take different ones (RFC 7515, section 4).
struct UniqueObject(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Map<String, Value>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("two members of one name"));
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Members).map(Self)
    }
}
