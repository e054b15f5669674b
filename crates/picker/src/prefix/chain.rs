//! The blocks of a prompt.

use std::hash::Hasher;

use foldhash::{SharedSeed, quality::FoldHasher};

/// Most blocks of one prompt to look up: the first 1.4 MB.
pub(super) const MOST_CHAINED: usize = 512;
/// Bytes of the blocks of each tier but the last.
const TIERS: [usize; 3] = [64, 256, 1024];
/// Blocks in each of these tiers.
const TIER_BLOCKS: usize = 64;
/// Bytes of all further blocks.
const LAST_TIER: usize = 4096;

/// The blocks of a prompt, by their chained hashes. A rest at its end makes no block.
#[derive(Debug, Default)]
pub(crate) struct Chain(pub(super) Vec<u64>);

impl Chain {
    /// Of a prompt. Both seeds are secret, so that nobody makes prompts whose hashes meet.
    pub(super) fn new(shared_seed: &SharedSeed, seed: u64, prompt: &[u8]) -> Self {
        let mut hashes = Vec::with_capacity(blocks_in(prompt.len()));
        let mut rest = prompt;
        let mut hash = seed;
        while hashes.len() < MOST_CHAINED
            && let Some((block, after)) = rest.split_at_checked(block_size(hashes.len()))
        {
            let mut hasher = FoldHasher::with_seed(hash, shared_seed);
            hasher.write(block);
            hash = hasher.finish();
            hashes.push(hash);
            rest = after;
        }
        Self(hashes)
    }
}

/// Bytes of the block at this place.
pub(super) fn block_size(at: usize) -> usize {
    TIERS.get(at / TIER_BLOCKS).copied().unwrap_or(LAST_TIER)
}

/// Bytes of so many blocks from the beginning.
pub(super) fn covered(blocks: usize) -> usize {
    let mut left = blocks;
    let mut bytes = 0;
    for size in TIERS {
        let here = left.min(TIER_BLOCKS);
        bytes += here * size;
        left -= here;
    }
    bytes + left * LAST_TIER
}

/// Blocks of a prompt of so many bytes.
pub(super) fn blocks_in(bytes: usize) -> usize {
    let mut left = bytes;
    let mut blocks = 0;
    for size in TIERS {
        let here = (left / size).min(TIER_BLOCKS);
        blocks += here;
        left -= here * size;
        if here < TIER_BLOCKS {
            return blocks;
        }
    }
    (blocks + left / LAST_TIER).min(MOST_CHAINED)
}
