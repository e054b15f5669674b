//! Tags of API keys: short keyed hashes, by which a key that the configuration tells is found without a digest of it.

use std::{hash::Hasher, sync::LazyLock};

use ring::rand::{SecureRandom, SystemRandom};
use siphasher::sip128::{Hasher128, SipHasher24};

/// The process's key of all tags; `None` where the system has no random numbers. It is told to nobody, and a later process has another.
static TAGGER: LazyLock<Option<SipHasher24>> = LazyLock::new(|| {
    let mut key = [0; 16];
    SystemRandom::new().fill(&mut key).ok()?;
    Some(SipHasher24::new_with_key(&key))
});

/// Tag of a key: SipHash-2-4 of 128 bits, a pseudorandom function of a random key. A client can compute none, and so choose no text whose tag
/// is that of another's key, or is like it: how long a comparison of tags takes tells it nothing.
pub(crate) type KeyTag = u128;

/// The tag of a key; `None` where this process has none.
pub(crate) fn key_tag(key: &[u8]) -> Option<KeyTag> {
    let mut hasher = (*TAGGER)?;
    hasher.write(key);
    Some(hasher.finish128().as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_published_function_and_differ_by_key() {
        // The first two of the reference implementation's vectors, of the key 00 01 … 0f.
        let of = |text: &[u8]| {
            let mut hasher = SipHasher24::new_with_key(&std::array::from_fn(|at| at as u8));
            hasher.write(text);
            hasher.finish128().as_bytes()
        };
        assert_eq!(of(b"")[..4], [0xa3, 0x81, 0x7f, 0x04]);
        assert_eq!(of(b"\0")[..4], [0xda, 0x87, 0xc1, 0xd8]);
        assert_eq!(key_tag(b"one"), key_tag(b"one"));
        assert_ne!(key_tag(b"one"), key_tag(b"two"));
        assert_ne!(key_tag(b"one").map(KeyTag::to_le_bytes), Some(of(b"one")));
    }
}
