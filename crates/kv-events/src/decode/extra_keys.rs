//! Facts that blocks depend on beside their tokens: adapter, images, salt, embeddings.
//!
//! vLLM gives a list for each block: the adapter's name first, then the identifier of each image that overlaps the block, alone or as
//! `[identifier, offset]`, then, for a prompt's first block, the salt, then digests of prompt embeddings as bytes. Whether the list
//! begins with an adapter is known from the event: it has an adapter's name or number. An image's identifier and a salt are both
//! texts and mean the same to an index: blocks differ if they do.

use super::msgpack::{Kind, Reader};

/// A property of a block beside its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraKey<'a> {
    /// Identifier of an image that overlaps the block, or the salt of a prompt's first block.
    Text(&'a [u8]),
    /// Digest of prompt embeddings, and any value of a kind that is not known, as it is encoded.
    Bytes(&'a [u8]),
}

/// Extra keys of an event's blocks, in the blocks' order.
#[derive(Clone, Copy, Debug)]
pub struct ExtraKeys<'a> {
    reader: Reader<'a>,
    blocks: u32,
    adapter: Option<&'a [u8]>,
}

impl Default for ExtraKeys<'_> {
    fn default() -> Self {
        Self { reader: Reader::new(&[]), blocks: 0, adapter: None }
    }
}

impl<'a> ExtraKeys<'a> {
    /// `adapter` is the adapter's name where the event has one; where it has just a number, the name is the first text here.
    pub(super) fn new(reader: Reader<'a>, adapter: Option<&'a [u8]>, has_adapter: bool) -> Option<Self> {
        let mut keys = Self { reader, blocks: 0, adapter };
        keys.blocks = keys.reader.array()?;
        if adapter.is_none() && has_adapter {
            keys.adapter = first_text(keys.reader, keys.blocks);
        }
        let mut rest = keys.reader;
        for _ in 0..keys.blocks {
            match rest.peek()? {
                Kind::Nil | Kind::Array => rest.skip()?,
                _ => return None,
            }
        }
        Some(keys)
    }

    /// Name of the adapter.
    pub fn adapter(&self) -> Option<&'a [u8]> {
        self.adapter
    }

    /// Keys of the next block, without the adapter.
    pub fn next_block(&mut self) -> BlockExtraKeys<'a> {
        let mut keys = BlockExtraKeys { reader: self.reader, left: 0 };
        if self.blocks == 0 {
            return keys;
        }
        self.blocks -= 1;
        if self.reader.skip().is_none() || keys.reader.peek() == Some(Kind::Nil) {
            return keys;
        }
        keys.left = keys.reader.array().unwrap_or(0);
        let after_adapter = self.adapter.and_then(|adapter| {
            let mut reader = keys.reader;
            (keys.left > 0 && reader.peek() == Some(Kind::Text) && reader.bytes() == Some(adapter)).then_some(reader)
        });
        match after_adapter {
            Some(reader) => BlockExtraKeys { reader, left: keys.left - 1 },
            None => keys,
        }
    }
}

/// The text that the first list begins with.
fn first_text<'a>(mut reader: Reader<'a>, blocks: u32) -> Option<&'a [u8]> {
    if blocks == 0 || reader.peek()? != Kind::Array || reader.array()? == 0 || reader.peek()? != Kind::Text {
        return None;
    }
    reader.bytes()
}

/// Extra keys of one block, in order.
#[derive(Clone, Copy, Debug)]
pub struct BlockExtraKeys<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Iterator for BlockExtraKeys<'a> {
    type Item = ExtraKey<'a>;

    fn next(&mut self) -> Option<ExtraKey<'a>> {
        self.left = self.left.checked_sub(1)?;
        match self.reader.peek()? {
            Kind::Text => self.reader.bytes().map(ExtraKey::Text),
            Kind::Bytes => self.reader.bytes().map(ExtraKey::Bytes),
            _ => {
                let value = self.reader.value()?;
                Some(image_identifier(Reader::new(value)).map_or(ExtraKey::Bytes(value), ExtraKey::Text))
            }
        }
    }
}

/// The identifier of `[identifier, offset]`. The offset goes: it follows from the tokens, and older versions do not have it.
fn image_identifier(mut reader: Reader<'_>) -> Option<&[u8]> {
    if reader.peek()? != Kind::Array || reader.array()? != 2 || reader.peek()? != Kind::Text {
        return None;
    }
    let identifier = reader.bytes()?;
    (reader.peek()? == Kind::Int).then_some(identifier)
}
