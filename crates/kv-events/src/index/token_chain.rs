//! Keys of blocks: XXH3, chained over the tokens from the beginning of the prompt.
//!
//! A key is computed in steps of the index's unit, 16 tokens unless an engine's block size is no multiple of it, so that
//! blocks of different sizes that end at the same token have the same key. An adapter's name begins the chain; extra keys enter it
//! where their block begins.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::decode::{BlockExtraKeys, ExtraKey};

/// Longest step of a chain, in tokens.
pub(super) const MAX_UNIT: u32 = 16;
/// Kinds of folded bytes.
const ADAPTER: u64 = 0x5bd1_e995_9d3a_c4f1;
const TEXT: u64 = 0x27d4_eb2f_1656_67c5;
const BYTES: u64 = 0x8564_7d1f_0b2c_9e37;

/// A prompt to look up, as its engine would compute it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prompt<'a> {
    /// All tokens. A placeholder for each token of an image counts.
    pub tokens: &'a [u32],
    /// Name of the LoRA adapter.
    pub adapter: Option<&'a [u8]>,
    /// The request's `cache_salt`.
    pub cache_salt: Option<&'a [u8]>,
    /// Images in the prompt, in order.
    pub images: &'a [PromptImage<'a>],
}

/// An image in a prompt.
#[derive(Clone, Debug)]
pub struct PromptImage<'a> {
    /// Its places among the prompt's tokens.
    pub tokens: Range<u32>,
    /// The engine's identifier of it.
    pub identifier: &'a [u8],
}

/// The largest unit that block sizes of this one allow.
pub(super) fn unit_of(block_size: u32) -> u32 {
    1 << block_size.trailing_zeros().min(MAX_UNIT.trailing_zeros())
}

/// Key of no tokens at all.
pub(super) fn root(seed: u64, adapter: Option<&[u8]>) -> u64 {
    adapter.map_or(seed, |adapter| fold(seed, ADAPTER, adapter))
}

pub(super) fn fold_text(key: u64, text: &[u8]) -> u64 {
    fold(key, TEXT, text)
}

pub(super) fn fold_extra_keys(key: u64, keys: BlockExtraKeys<'_>) -> u64 {
    keys.fold(key, |key, extra| match extra {
        ExtraKey::Text(text) => fold(key, TEXT, text),
        ExtraKey::Bytes(bytes) => fold(key, BYTES, bytes),
    })
}

fn fold(key: u64, kind: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, key ^ kind)
}

/// Key after the next tokens, at most [`MAX_UNIT`].
#[inline]
pub(super) fn step(key: u64, tokens: impl Iterator<Item = u32>) -> u64 {
    let mut bytes = [0; 4 * MAX_UNIT as usize];
    let mut length = 0;
    for (place, token) in bytes.chunks_exact_mut(4).zip(tokens) {
        place.copy_from_slice(&token.to_le_bytes());
        length += 4;
    }
    xxh3_64_with_seed(&bytes[..length], key)
}

/// Keys of a prompt, one after the other.
pub(super) struct PromptKeys<'a> {
    prompt: &'a Prompt<'a>,
    key: u64,
    at: u32,
    unit: u32,
    /// Tokens of the engine's blocks; it matters to prompts with images alone.
    block_size: u32,
}

impl<'a> PromptKeys<'a> {
    pub(super) fn new(prompt: &'a Prompt<'a>, seed: u64, unit: u32, block_size: u32) -> Self {
        Self { prompt, key: root(seed, prompt.adapter), at: 0, unit, block_size }
    }

    /// Key of the tokens up to this place, a multiple of the unit that is not before the last one asked for.
    pub(super) fn advance(&mut self, to: u32) -> u64 {
        while self.at < to {
            if self.at.is_multiple_of(self.block_size) {
                self.begin_block();
            }
            let tokens = &self.prompt.tokens[self.at as usize..(self.at + self.unit) as usize];
            self.key = step(self.key, tokens.iter().copied());
            self.at += self.unit;
        }
        self.key
    }

    fn begin_block(&mut self) {
        let block = self.at..self.at.saturating_add(self.block_size);
        for image in self.prompt.images {
            if image.tokens.start < block.end && image.tokens.end > block.start {
                self.key = fold_text(self.key, image.identifier);
            }
        }
        if let Some(salt) = self.prompt.cache_salt.filter(|_| self.at == 0) {
            self.key = fold_text(self.key, salt);
        }
    }
}
