//! Fields of one event, still encoded, whichever way the event names them.

use super::msgpack::{Kind, Reader};

/// Most entries of an event's map that are looked at, and most positions of its array.
const MAX_FIELDS: u32 = 64;

/// Positions of a BlockStored after its tag.
const STORED_POSITIONS: [Field; 10] = [
    Field::BlockHashes,
    Field::ParentBlockHash,
    Field::TokenIds,
    Field::BlockSize,
    Field::LoraId,
    Field::Medium,
    Field::LoraName,
    Field::ExtraKeys,
    Field::GroupIdx,
    Field::Kind,
];

/// Positions of a BlockRemoved after its tag.
const REMOVED_POSITIONS: [Field; 3] = [Field::BlockHashes, Field::Medium, Field::GroupIdx];

/// A field that means something to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Tag,
    BlockHashes,
    ParentBlockHash,
    TokenIds,
    BlockSize,
    LoraId,
    Medium,
    LoraName,
    ExtraKeys,
    GroupIdx,
    Kind,
    CacheSalt,
    Origin,
}

const FIELD_COUNT: usize = Field::Origin as usize + 1;

impl Field {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"type" => Self::Tag,
            b"block_hashes" => Self::BlockHashes,
            b"parent_block_hash" => Self::ParentBlockHash,
            b"token_ids" => Self::TokenIds,
            b"block_size" => Self::BlockSize,
            b"lora_id" => Self::LoraId,
            b"medium" => Self::Medium,
            b"lora_name" => Self::LoraName,
            b"extra_keys" => Self::ExtraKeys,
            b"group_idx" => Self::GroupIdx,
            b"kv_cache_spec_kind" => Self::Kind,
            b"cache_salt" => Self::CacheSalt,
            b"origin" => Self::Origin,
            _ => return None,
        })
    }
}

/// Encoded values by field. The last of a repeated name counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    values: [Option<&'a [u8]>; FIELD_COUNT],
}

impl<'a> Fields<'a> {
    /// Reads one event. An event of another kind than array or map has no fields. `None`: its end cannot be found.
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut fields = Self::default();
        match reader.peek()? {
            Kind::Array => {
                let positions = reader.array()?;
                fields.read_positions(reader, positions)?;
            }
            Kind::Map => fields.read_entries(reader)?,
            _ => reader.skip()?,
        }
        Some(fields)
    }

    /// A field's value, unless it is absent or nil.
    pub(super) fn reader(&self, field: Field) -> Option<Reader<'a>> {
        let reader = Reader::new(self.values[field as usize]?);
        (reader.peek() != Some(Kind::Nil)).then_some(reader)
    }

    /// A field's text.
    pub(super) fn text(&self, field: Field) -> Option<&'a [u8]> {
        self.reader(field).filter(|reader| reader.peek() == Some(Kind::Text))?.bytes()
    }

    fn set(&mut self, field: Field, value: &'a [u8]) {
        self.values[field as usize] = Some(value);
    }

    fn read_positions(&mut self, reader: &mut Reader<'a>, positions: u32) -> Option<()> {
        if positions == 0 {
            return Some(());
        }
        self.set(Field::Tag, reader.value()?);
        let names: &[Field] = match self.text(Field::Tag) {
            Some(b"BlockStored") => &STORED_POSITIONS,
            Some(b"BlockRemoved") => &REMOVED_POSITIONS,
            _ => &[],
        };
        for position in 1..positions {
            let Some(field) = names.get(position as usize - 1) else {
                reader.skip()?;
                continue;
            };
            let value = reader.value()?;
            let mut within = Reader::new(value);
            if *field == Field::LoraName && within.peek() == Some(Kind::Map) {
                // SGLang has a map of the cache salt and further names at the position of vLLM's adapter name.
                self.read_entries(&mut within)?;
            } else {
                self.set(*field, value);
            }
        }
        Some(())
    }

    fn read_entries(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        for entry in 0..reader.map()? {
            let field = Field::named(reader.key()?);
            let value = reader.value()?;
            if let Some(field) = field.filter(|_| entry < MAX_FIELDS) {
                self.set(field, value);
            }
        }
        Some(())
    }
}
