//! Arrays of hashes and tokens. They are read through once when the event is decoded, so that reading them later cannot fail.

use super::{
    event::BlockHash,
    msgpack::{Kind, Reader},
};

/// Bytes of a hash that are kept.
const HASH_BYTES: usize = 8;

/// Hashes of an event, in order.
#[derive(Clone, Copy, Debug)]
pub struct BlockHashes<'a> {
    reader: Reader<'a>,
    count: u32,
}

impl<'a> BlockHashes<'a> {
    pub(super) fn new(mut reader: Reader<'a>) -> Option<Self> {
        let count = reader.array()?;
        let hashes = Self { reader, count };
        for _ in 0..count {
            BlockHash::read(&mut reader)?;
        }
        Some(hashes)
    }

    /// Number of hashes.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> BlockHashes<'a> {
    /// Leaves so many here, and returns the rest; `None` if there are no more.
    pub(super) fn split_off_rest(&mut self, kept: u32) -> Option<Self> {
        let mut rest = *self;
        rest.count = self.count.checked_sub(kept).filter(|rest| *rest > 0)?;
        for _ in 0..kept {
            BlockHash::read(&mut rest.reader)?;
        }
        self.count = kept;
        Some(rest)
    }
}

impl Iterator for BlockHashes<'_> {
    type Item = BlockHash;

    fn next(&mut self) -> Option<BlockHash> {
        self.count = self.count.checked_sub(1)?;
        BlockHash::read(&mut self.reader)
    }
}

impl BlockHash {
    /// Reads an integer, or the last 8 bytes of a byte string.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        if reader.peek()? == Kind::Int {
            return reader.int().map(Self);
        }
        let bytes = reader.bytes()?;
        bytes.last_chunk::<HASH_BYTES>().map(|last| Self(u64::from_be_bytes(*last)))
    }
}

/// Tokens of an event, in order.
#[derive(Clone, Copy, Debug)]
pub struct TokenIds<'a> {
    reader: Reader<'a>,
    count: u32,
}

impl Default for TokenIds<'_> {
    fn default() -> Self {
        Self { reader: Reader::new(&[]), count: 0 }
    }
}

impl<'a> TokenIds<'a> {
    pub(super) fn new(mut reader: Reader<'a>) -> Option<Self> {
        let count = reader.array()?;
        let tokens = Self { reader, count };
        for _ in 0..count {
            u32::try_from(reader.int()?).ok()?;
        }
        Some(tokens)
    }

    /// Number of tokens.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> TokenIds<'a> {
    /// Leaves so many here, and returns the rest; `None` if there are no more.
    pub(super) fn split_off_rest(&mut self, kept: u32) -> Option<Self> {
        let mut rest = *self;
        rest.count = self.count.checked_sub(kept).filter(|rest| *rest > 0)?;
        for _ in 0..kept {
            rest.reader.int()?;
        }
        self.count = kept;
        Some(rest)
    }
}

impl Iterator for TokenIds<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        self.count = self.count.checked_sub(1)?;
        self.reader.int().map(|token| token as u32)
    }
}
