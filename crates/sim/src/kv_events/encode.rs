//! Batches in MessagePack, in the forms of vLLM.

use bytes::{BufMut, Bytes, BytesMut};

use crate::config::EventEncoding;
use crate::engine::BlockEvent;

/// A value, as far as events have some.
enum Value<'a> {
    Nil,
    Integer(u64),
    Text(&'a str),
    List(Vec<Value<'a>>),
}

/// A batch: time in seconds, events, data-parallel rank.
pub(super) fn batch(encoding: EventEncoding, seconds: f64, events: &[BlockEvent], block_size: u32) -> Bytes {
    let mut out = BytesMut::new();
    write_length(&mut out, 0x90, 3);
    out.put_u8(0xcb);
    out.put_f64(seconds);
    write_length(&mut out, 0x90, events.len());
    for event in events {
        let (tag, fields) = fields(event, block_size);
        match encoding {
            EventEncoding::Array => {
                write_length(&mut out, 0x90, fields.len() + 1);
                write_text(&mut out, tag);
                fields.iter().for_each(|(_, value)| write(&mut out, value));
            }
            EventEncoding::Map => {
                write_length(&mut out, 0x80, fields.len() + 1);
                for (name, value) in [("type", Value::Text(tag))].iter().chain(&fields) {
                    write_text(&mut out, name);
                    write(&mut out, value);
                }
            }
        }
    }
    out.put_u8(0);
    out.freeze()
}

/// An event's tag, and its fields in their positions.
fn fields(event: &BlockEvent, block_size: u32) -> (&'static str, Vec<(&'static str, Value<'_>)>) {
    match event {
        BlockEvent::Stored { hashes, parent, tokens, adapter, cache_salt } => {
            let adapter = adapter.as_deref();
            let extra_keys = (0..hashes.len()).map(|place| extra_keys(place, adapter, cache_salt.as_deref()));
            let has_extra_keys = adapter.is_some() || cache_salt.is_some();
            let fields = vec![
                ("block_hashes", integers(hashes.iter().copied())),
                ("parent_block_hash", parent.map_or(Value::Nil, Value::Integer)),
                ("token_ids", integers(tokens.iter().map(|token| u64::from(*token)))),
                ("block_size", Value::Integer(block_size.into())),
                ("lora_id", adapter.map_or(Value::Nil, |_| Value::Integer(1))),
                ("medium", Value::Text("GPU")),
                ("lora_name", adapter.map_or(Value::Nil, Value::Text)),
                ("extra_keys", if has_extra_keys { Value::List(extra_keys.collect()) } else { Value::Nil }),
            ];
            ("BlockStored", fields)
        }
        // As vLLM's offloading tells it: by the hash alone.
        BlockEvent::Offloaded { hash, tier } => {
            let fields = vec![
                ("block_hashes", integers([*hash].into_iter())),
                ("parent_block_hash", Value::Nil),
                ("token_ids", Value::List(Vec::new())),
                ("block_size", Value::Integer(block_size.into())),
                ("lora_id", Value::Nil),
                ("medium", Value::Text(tier.medium())),
            ];
            ("BlockStored", fields)
        }
        BlockEvent::Removed { hashes, tier } => {
            let fields = vec![("block_hashes", integers(hashes.iter().copied())), ("medium", Value::Text(tier.medium()))];
            ("BlockRemoved", fields)
        }
        BlockEvent::Cleared => ("AllBlocksCleared", Vec::new()),
    }
}

/// Extra keys of an event's block at this place: the adapter's name, and the salt if the block is a prompt's first.
fn extra_keys<'a>(place: usize, adapter: Option<&'a str>, cache_salt: Option<&'a str>) -> Value<'a> {
    let salt = cache_salt.filter(|_| place == 0);
    let keys: Vec<_> = adapter.into_iter().chain(salt).map(Value::Text).collect();
    if keys.is_empty() { Value::Nil } else { Value::List(keys) }
}

fn integers<'a>(values: impl Iterator<Item = u64>) -> Value<'a> {
    Value::List(values.map(Value::Integer).collect())
}

fn write(out: &mut BytesMut, value: &Value<'_>) {
    match value {
        Value::Nil => out.put_u8(0xc0),
        Value::Integer(value @ 0..=0x7f) => out.put_u8(*value as u8),
        Value::Integer(value) => match u32::try_from(*value) {
            Ok(value) => {
                out.put_u8(0xce);
                out.put_u32(value);
            }
            Err(_) => {
                out.put_u8(0xcf);
                out.put_u64(*value);
            }
        },
        Value::Text(text) => write_text(out, text),
        Value::List(values) => {
            write_length(out, 0x90, values.len());
            values.iter().for_each(|value| write(out, value));
        }
    }
}

fn write_text(out: &mut BytesMut, text: &str) {
    match text.len() {
        length @ 0..=31 => out.put_u8(0xa0 | length as u8),
        length => {
            out.put_u8(0xdb);
            out.put_u32(length as u32);
        }
    }
    out.put_slice(text.as_bytes());
}

/// Head of an array (`0x90`) or a map (`0x80`) of so many entries.
fn write_length(out: &mut BytesMut, kind: u8, length: usize) {
    match length {
        0..=15 => out.put_u8(kind | length as u8),
        _ => {
            out.put_u8(if kind == 0x90 { 0xdd } else { 0xdf });
            out.put_u32(length as u32);
        }
    }
}
