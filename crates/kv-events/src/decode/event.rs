//! Events as types, from their fields.

use super::{
    extra_keys::ExtraKeys,
    fields::{Field, Fields},
    msgpack::Kind,
    sequences::{BlockHashes, TokenIds},
};

/// Most tokens of one block: far above any engine's.
const MAX_BLOCK_TOKENS: u32 = 65_536;

/// An engine's name for one block: its hash, or the last 8 bytes of a longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockHash(pub u64);

/// Storage that holds a block, the fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The accelerator's memory.
    Gpu,
    /// The host's memory.
    Cpu,
    /// Anything slower, and any medium of an unknown name.
    Disk,
}

/// A change of an engine's prefix cache.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Blocks are cached from now on.
    Stored(BlockStored<'a>),
    /// Blocks are no longer cached.
    Removed(BlockRemoved<'a>),
    /// Nothing is cached.
    Cleared,
}

/// Blocks that follow each other, from their parent on.
#[derive(Clone, Copy, Debug)]
pub struct BlockStored<'a> {
    /// The engine's hashes, one for each block.
    pub hashes: BlockHashes<'a>,
    /// The block before the first; `None` at the beginning of a prompt.
    pub parent: Option<BlockHash>,
    /// `block_size` tokens for each block, or none at all if the engine expects the blocks to be known.
    pub tokens: TokenIds<'a>,
    /// Tokens in each block, 1 to 65,536.
    pub block_size: u32,
    /// Tier that the blocks are in.
    pub tier: Tier,
    /// Name of the LoRA adapter that computed them.
    pub adapter: Option<&'a [u8]>,
    /// An adapter without a name (only a `lora_id`) computed them: requests name it otherwise.
    pub has_unnamed_adapter: bool,
    /// Facts beside tokens that the blocks depend on.
    pub extra_keys: ExtraKeys<'a>,
    /// SGLang's salt of the whole prompt; vLLM's is an extra key of the first block.
    pub cache_salt: Option<&'a [u8]>,
    /// KV cache group.
    pub group: u16,
    /// Whether all earlier tokens matter to a block: a prefix that is cached serves then for certain. Other kinds (sliding window,
    /// chunked local attention, Mamba) keep what their window needs.
    pub has_full_attention: bool,
    /// The engine announces again what it had announced before.
    pub is_reused: bool,
}

/// Blocks that are gone from one tier.
#[derive(Clone, Copy, Debug)]
pub struct BlockRemoved<'a> {
    /// The engine's hashes.
    pub hashes: BlockHashes<'a>,
    /// Tier that the blocks were in.
    pub tier: Tier,
    /// KV cache group; `None` is any.
    pub group: Option<u16>,
}

/// Why an event was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecoded {
    /// An event of a kind that the index has no use for, or a newer one.
    #[error("KV event: unknown tag")]
    UnknownTag,
    /// A field that is missing, or of another type.
    #[error("KV event: {0} is missing or of another type")]
    Field(&'static str),
    /// The batch ends within the event, or is not MessagePack there. No event of the batch follows.
    #[error("KV event: not MessagePack")]
    Malformed,
}

impl<'a> Event<'a> {
    /// Blocks that it names.
    pub fn blocks(&self) -> u32 {
        match self {
            Self::Stored(stored) => stored.hashes.len(),
            Self::Removed(removed) => removed.hashes.len(),
            Self::Cleared => 0,
        }
    }

    /// Leaves so many blocks (at least 1) to the event, and returns another of the rest, to be applied after it. `None`: it has no more.
    pub(crate) fn split_off_rest(&mut self, blocks: u32) -> Option<Self> {
        match self {
            Self::Stored(stored) => stored.split_off_rest(blocks).map(Self::Stored),
            Self::Removed(removed) => {
                let rest = removed.hashes.split_off_rest(blocks)?;
                Some(Self::Removed(BlockRemoved { hashes: rest, ..*removed }))
            }
            Self::Cleared => None,
        }
    }

    pub(super) fn new(fields: &Fields<'a>) -> Result<Self, Undecoded> {
        match fields.text(Field::Tag) {
            Some(b"BlockStored") => BlockStored::new(fields).map(Self::Stored),
            Some(b"BlockRemoved") => BlockRemoved::new(fields).map(Self::Removed),
            Some(b"AllBlocksCleared") => Ok(Self::Cleared),
            _ => Err(Undecoded::UnknownTag),
        }
    }
}

impl<'a> BlockStored<'a> {
    fn split_off_rest(&mut self, blocks: u32) -> Option<Self> {
        let hashes = self.hashes.split_off_rest(blocks)?;
        let mut rest = Self { hashes, parent: self.hashes.last(), ..*self };
        if let Some(tokens) = self.tokens.split_off_rest(blocks.saturating_mul(self.block_size)) {
            rest.tokens = tokens;
        }
        (0..blocks).for_each(|_| _ = rest.extra_keys.next_block());
        Some(rest)
    }

    fn new(fields: &Fields<'a>) -> Result<Self, Undecoded> {
        let hashes = block_hashes(fields)?;
        let block_size = fields.reader(Field::BlockSize).and_then(|mut reader| reader.int());
        let block_size = block_size.and_then(|size| u32::try_from(size).ok()).filter(|size| (1..=MAX_BLOCK_TOKENS).contains(size));
        let block_size = block_size.ok_or(Undecoded::Field("block_size"))?;
        let parent = match fields.reader(Field::ParentBlockHash) {
            Some(mut reader) => Some(BlockHash::read(&mut reader).ok_or(Undecoded::Field("parent_block_hash"))?),
            None => None,
        };
        let tokens = match fields.reader(Field::TokenIds) {
            Some(reader) => TokenIds::new(reader),
            None => Some(TokenIds::default()),
        };
        let is_whole =
            |tokens: &TokenIds<'_>| tokens.is_empty() || tokens.len() as u64 == hashes.len() as u64 * u64::from(block_size);
        let tokens = tokens.filter(is_whole).ok_or(Undecoded::Field("token_ids"))?;
        // Engines count adapters from 1 on.
        let has_adapter = fields.reader(Field::LoraId).is_some_and(|mut reader| reader.int() != Some(0));
        let name = fields.text(Field::LoraName).filter(|name| !name.is_empty());
        let extra_keys = match fields.reader(Field::ExtraKeys) {
            Some(reader) => ExtraKeys::new(reader, name, has_adapter).ok_or(Undecoded::Field("extra_keys"))?,
            None => ExtraKeys::default(),
        };
        let adapter = name.or_else(|| extra_keys.adapter());
        Ok(Self {
            hashes,
            parent,
            tokens,
            block_size,
            tier: Tier::of(fields),
            adapter,
            has_unnamed_adapter: has_adapter && adapter.is_none(),
            extra_keys,
            cache_salt: fields.text(Field::CacheSalt).filter(|salt| !salt.is_empty()),
            group: group(fields)?.unwrap_or(0),
            has_full_attention: fields.text(Field::Kind).is_none_or(is_full_attention),
            is_reused: fields.text(Field::Origin) == Some(b"REUSED"),
        })
    }
}

impl<'a> BlockRemoved<'a> {
    fn new(fields: &Fields<'a>) -> Result<Self, Undecoded> {
        Ok(Self { hashes: block_hashes(fields)?, tier: Tier::of(fields), group: group(fields)? })
    }
}

impl Tier {
    /// By `medium`: vLLM's and SGLang's names, TensorRT-LLM's cache levels; absent is GPU.
    fn of(fields: &Fields<'_>) -> Self {
        let Some(mut reader) = fields.reader(Field::Medium) else { return Self::Gpu };
        if reader.peek() == Some(Kind::Int) {
            return match reader.int() {
                Some(0) => Self::Gpu,
                Some(1) => Self::Cpu,
                _ => Self::Disk,
            };
        }
        match fields.text(Field::Medium).unwrap_or_default() {
            name if name.is_empty() || name.eq_ignore_ascii_case(b"gpu") => Self::Gpu,
            name if name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"cpu")) => Self::Cpu,
            name if name.eq_ignore_ascii_case(b"host") => Self::Cpu,
            _ => Self::Disk,
        }
    }
}

fn is_full_attention(kind: &[u8]) -> bool {
    matches!(kind, b"full_attention" | b"mla_attention" | b"sink_full_attention")
}

fn block_hashes<'a>(fields: &Fields<'a>) -> Result<BlockHashes<'a>, Undecoded> {
    fields.reader(Field::BlockHashes).and_then(BlockHashes::new).ok_or(Undecoded::Field("block_hashes"))
}

fn group(fields: &Fields<'_>) -> Result<Option<u16>, Undecoded> {
    let Some(mut reader) = fields.reader(Field::GroupIdx) else { return Ok(None) };
    let group = reader.int().and_then(|group| u16::try_from(group).ok());
    group.map(Some).ok_or(Undecoded::Field("group_idx"))
}
