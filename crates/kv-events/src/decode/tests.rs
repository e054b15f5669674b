//! Formats that engines are known to publish, each by an example; and any event at all, against `rmpv`'s reading of it.

mod examples;
mod oracle;

use rmpv::Value;

use super::*;
use crate::testing::{array, batch, encode, ints, map};

/// An event with nothing borrowed.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Stored(Box<OwnedStored>),
    Removed { hashes: Vec<u64>, tier: Tier, group: Option<u16> },
    Cleared,
}

#[derive(Clone, Debug, PartialEq)]
struct OwnedStored {
    hashes: Vec<u64>,
    parent: Option<u64>,
    tokens: Vec<u32>,
    block_size: u32,
    tier: Tier,
    adapter: Option<Vec<u8>>,
    extra: Vec<Vec<Vec<u8>>>,
    salt: Option<Vec<u8>>,
    group: u16,
    has_full_attention: bool,
    is_reused: bool,
}

impl Owned {
    fn of(event: &Event<'_>) -> Self {
        match *event {
            Event::Cleared => Self::Cleared,
            Event::Removed(removed) => {
                Self::Removed { hashes: removed.hashes.map(|hash| hash.0).collect(), tier: removed.tier, group: removed.group }
            }
            Event::Stored(mut stored) => {
                let text = |key| match key {
                    ExtraKey::Text(text) | ExtraKey::Bytes(text) => text.to_vec(),
                };
                Self::Stored(Box::new(OwnedStored {
                    hashes: stored.hashes.map(|hash| hash.0).collect(),
                    parent: stored.parent.map(|hash| hash.0),
                    tokens: stored.tokens.collect(),
                    block_size: stored.block_size,
                    tier: stored.tier,
                    adapter: stored.adapter.map(<[u8]>::to_vec),
                    extra: (0..stored.hashes.len()).map(|_| stored.extra_keys.next_block().map(text).collect()).collect(),
                    salt: stored.cache_salt.map(<[u8]>::to_vec),
                    group: stored.group,
                    has_full_attention: stored.has_full_attention,
                    is_reused: stored.is_reused,
                }))
            }
        }
    }
}

fn decode(payload: &[u8]) -> Vec<Result<Owned, Undecoded>> {
    Batch::new(payload).expect("a batch").map(|event| event.map(|event| Owned::of(&event))).collect()
}

fn stored(event: &Result<Owned, Undecoded>) -> &OwnedStored {
    match event {
        Ok(Owned::Stored(stored)) => stored,
        other => panic!("not stored: {other:?}"),
    }
}
