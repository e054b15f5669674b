//! Tokens whose signature was right, so that it is computed once for each.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;

use crate::{Claims, jwk::JwkSet};

/// Most tokens that are remembered.
const MAX_TOKENS: usize = 4096;
/// Bytes of the longest token that is remembered, so that all of a worker's have 16 MiB at most, and 4 MiB of headers
/// that are kept with their claims. Longer ones are verified at each use.
const MAX_TOKEN: usize = 4096;

/// Claims by their token and the set of keys that verified it. Issuer, audience and times are compared at each use. A worker has one of its
/// own, so that its lock is never waited for.
///
/// The map's hash has a seed of the process: nobody knows which texts meet one of its tokens, so that comparing with that tells nothing of it.
/// A digest in the token's place would cost as much as all else that is done for a token seen before.
#[derive(Default)]
pub struct TokenCache {
    tokens: Mutex<HashMap<Key, Arc<Claims>>>,
}

struct Key {
    token: Box<[u8]>,
    keys: u64,
}

struct KeyRef<'a> {
    token: &'a [u8],
    keys: u64,
}

impl TokenCache {
    pub(crate) fn find(&self, token: &[u8], keys: &JwkSet) -> Option<Arc<Claims>> {
        self.tokens.lock().get(&KeyRef { token, keys: keys.id() }).cloned()
    }

    pub(crate) fn insert(&self, token: &[u8], keys: &JwkSet, claims: Arc<Claims>) {
        if token.len() > MAX_TOKEN {
            return;
        }
        let mut tokens = self.tokens.lock();
        // Any other goes: tokens that are still in use are back with one computation.
        if tokens.len() >= MAX_TOKENS {
            drop(tokens.extract_if(|_, _| true).next());
        }
        tokens.insert(Key { token: token.into(), keys: keys.id() }, claims);
    }
}

impl Key {
    fn borrow(&self) -> KeyRef<'_> {
        KeyRef { token: &self.token, keys: self.keys }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        other.borrow().equivalent(self)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrow().hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.token);
        state.write_u64(self.keys);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.keys == key.keys && *self.token == *key.token
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenCache({})", self.tokens.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn key_set() -> JwkSet {
        JwkSet::parse(br#"{"keys":[{"kty":"oct","alg":"HS256","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#).unwrap()
    }

    #[test]
    fn a_token_is_known_with_its_own_keys_alone_and_is_not_shown() {
        let (cache, keys, others) = (TokenCache::default(), key_set(), key_set());
        cache.insert(b"a.b.c", &keys, Arc::new(Claims::new(Map::new()).unwrap()));
        assert!(cache.find(b"a.b.c", &keys).is_some());
        assert!(cache.find(b"a.b.c", &others).is_none() && cache.find(b"a.b.d", &keys).is_none());
        assert_eq!(format!("{cache:?}"), "TokenCache(1)");
    }

    #[test]
    fn a_token_that_is_too_long_is_not_remembered() {
        let (cache, keys) = (TokenCache::default(), key_set());
        let token = [b'a'; MAX_TOKEN + 1];
        cache.insert(&token, &keys, Arc::new(Claims::new(Map::new()).unwrap()));
        assert!(cache.find(&token, &keys).is_none());
    }

    #[test]
    fn a_cache_that_is_full_takes_another_token_in() {
        let (cache, keys) = (TokenCache::default(), key_set());
        let claims = Arc::new(Claims::new(Map::new()).unwrap());
        for number in 0..=MAX_TOKENS {
            cache.insert(&number.to_be_bytes(), &keys, claims.clone());
        }
        assert!(cache.find(&MAX_TOKENS.to_be_bytes(), &keys).is_some());
        assert_eq!(format!("{cache:?}"), format!("TokenCache({MAX_TOKENS})"));
    }
}
