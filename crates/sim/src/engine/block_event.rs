use std::ops::Range;
use std::sync::Arc;

use super::Request;

/// A change of an engine's prefix cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockEvent {
    /// Blocks that follow each other can be found from now on.
    Stored {
        /// Their hashes.
        hashes: Vec<u64>,
        /// Hash of the block before them; `None` at the beginning of a prompt.
        parent: Option<u64>,
        /// All of their tokens.
        tokens: Vec<u32>,
        /// The adapter that they were computed with.
        adapter: Option<Arc<str>>,
        /// The `cache_salt` of their prompt, if they are its first.
        cache_salt: Option<Arc<str>>,
    },
    /// A block that can be found is kept in a slower tier as well.
    Offloaded {
        /// Its hash.
        hash: u64,
        /// The tier.
        tier: Tier,
    },
    /// Blocks can no longer be found in a tier.
    Removed {
        /// Their hashes.
        hashes: Vec<u64>,
        /// The tier.
        tier: Tier,
    },
    /// No block can be found any more.
    Cleared,
}

/// Memory that holds blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The GPU's.
    Gpu,
    /// The CPU's.
    Cpu,
    /// A disk.
    Disk,
}

impl Tier {
    /// Its name in events (`medium`).
    pub(crate) fn medium(self) -> &'static str {
        match self {
            Self::Gpu => "GPU",
            Self::Cpu => "CPU",
            Self::Disk => "DISK",
        }
    }
}

/// The event of a request's blocks.
pub(super) fn stored(request: &Request, blocks: Range<usize>, block_size: u32) -> BlockEvent {
    let size = block_size as usize;
    let is_first = blocks.start == 0;
    BlockEvent::Stored {
        parent: blocks.start.checked_sub(1).map(|before| request.block_hashes[before]),
        tokens: request.tokens.get(blocks.start * size..blocks.end * size).unwrap_or_default().to_vec(),
        hashes: request.block_hashes[blocks].to_vec(),
        adapter: request.adapter.clone(),
        cache_salt: request.cache_salt.clone().filter(|_| is_first),
    }
}
