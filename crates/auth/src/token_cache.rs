//! Tokens whose signature was right, so that it is computed once for each.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ring::digest;

use crate::{Claims, jwk::JwkSet};

/// Most tokens that are remembered.
const MAX_TOKENS: usize = 4096;

/// Claims by the digest of their token and the set of keys that verified it. Issuer, audience and times are compared at each use. A worker
/// has one of its own, so that its lock is never waited for.
#[derive(Debug, Default)]
pub struct TokenCache {
    tokens: Mutex<HashMap<Key, Arc<Claims>>>,
}

type Key = ([u8; digest::SHA256_OUTPUT_LEN], u64);

impl TokenCache {
    pub(crate) fn find(&self, token: &[u8], keys: &JwkSet) -> Option<Arc<Claims>> {
        self.tokens.lock().get(&key(token, keys)).cloned()
    }

    pub(crate) fn insert(&self, token: &[u8], keys: &JwkSet, claims: Arc<Claims>) {
        let mut tokens = self.tokens.lock();
        // Any other goes: tokens that are still in use are back with one computation.
        if tokens.len() >= MAX_TOKENS
            && let Some(other) = tokens.keys().next().copied()
        {
            tokens.remove(&other);
        }
        tokens.insert(key(token, keys), claims);
    }
}

fn key(token: &[u8], keys: &JwkSet) -> Key {
    let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
    (bytes, keys.id())
}
