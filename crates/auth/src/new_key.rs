//! New API keys.

use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};

use crate::SHA256_PREFIX;

/// Beginning of every new key, by which scanners for secrets find one that has leaked.
pub const KEY_PREFIX: &str = "pailou-sk-";
/// Letters behind the prefix: 43 of these 62 are 256 bits.
const LETTERS: usize = 43;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new key of 256 random bits; `None` where the system has no random numbers.
pub fn new_key() -> Option<String> {
    let random = SystemRandom::new();
    let mut key = KEY_PREFIX.to_owned();
    while key.len() < KEY_PREFIX.len() + LETTERS {
        let mut bytes = [0; 64];
        random.fill(&mut bytes).ok()?;
        // The largest multiple of 62 that a byte can be below: each letter is as likely as any other.
        let letters = bytes.into_iter().filter(|byte| *byte < 248).map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        key.extend(letters.take(KEY_PREFIX.len() + LETTERS - key.len()));
    }
    Some(key)
}

/// The hash of a key, as `keyHash` in a Secret has it.
pub fn key_hash(key: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, key);
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    std::iter::once(SHA256_PREFIX.to_owned()).chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ApiKeys;

    #[test]
    fn a_new_key_is_found_by_its_hash_and_like_no_other() {
        let key = new_key().unwrap();
        assert!(key.starts_with(KEY_PREFIX) && key.len() == 53 && key[10..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(Some(&key), new_key().as_ref());
        let mut keys = ApiKeys::default();
        keys.add("alice", format!("{{\"keyHash\":\"{}\"}}", key_hash(key.as_bytes())).as_bytes()).unwrap();
        assert_eq!(keys.find(key.as_bytes()).map(|key| &*key.client), Some("alice"));
    }
}
