use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// Another reading of an event, from `rmpv`'s tree of it.
fn read(event: &Value) -> Result<Owned, Undecoded> {
    let field = |position: usize, name: &str| -> Option<&Value> {
        let value = match event {
            Value::Array(values) => values.get(position),
            _ => event.as_map()?.iter().rev().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value),
        };
        value.filter(|value| !value.is_nil())
    };
    let tier = |position| match field(position, "medium").and_then(Value::as_str) {
        None | Some("GPU") => Tier::Gpu,
        Some("CPU") => Tier::Cpu,
        Some(_) => Tier::Disk,
    };
    let hashes =
        field(1, "block_hashes").and_then(Value::as_array).and_then(|hashes| hashes.iter().map(hash).collect::<Option<Vec<_>>>());
    let hashes = hashes.ok_or(Undecoded::Field("block_hashes"));
    let group = |position| field(position, "group_idx").and_then(Value::as_u64).map(|group| group as u16);
    match field(0, "type").and_then(Value::as_str) {
        Some("AllBlocksCleared") => Ok(Owned::Cleared),
        Some("BlockRemoved") => Ok(Owned::Removed { hashes: hashes?, tier: tier(2), group: group(3) }),
        Some("BlockStored") => {
            let hashes = hashes?;
            let block_size = field(4, "block_size").and_then(Value::as_u64).filter(|size| *size > 0);
            let block_size = block_size.ok_or(Undecoded::Field("block_size"))? as u32;
            let tokens: Vec<u32> = field(3, "token_ids")
                .and_then(Value::as_array)
                .map_or(vec![], |tokens| tokens.iter().filter_map(Value::as_u64).map(|token| token as u32).collect());
            if !tokens.is_empty() && tokens.len() != hashes.len() * block_size as usize {
                return Err(Undecoded::Field("token_ids"));
            }
            let adapter = field(7, "lora_name").and_then(Value::as_str).map(|name| name.as_bytes().to_vec());
            let lists = field(8, "extra_keys").and_then(Value::as_array);
            Ok(Owned::Stored(Box::new(OwnedStored {
                extra: (0..hashes.len()).map(|at| extra(lists.and_then(|lists| lists.get(at)), adapter.as_deref())).collect(),
                hashes,
                parent: field(2, "parent_block_hash").and_then(hash),
                tokens,
                block_size,
                tier: tier(6),
                adapter,
                salt: field(usize::MAX, "cache_salt").and_then(Value::as_str).map(|salt| salt.as_bytes().to_vec()),
                group: group(9).unwrap_or(0),
                has_full_attention: field(10, "kv_cache_spec_kind").is_none_or(|kind| kind.as_str() == Some("full_attention")),
                is_reused: field(usize::MAX, "origin").and_then(Value::as_str) == Some("REUSED"),
            })))
        }
        _ => Err(Undecoded::UnknownTag),
    }
}

fn hash(value: &Value) -> Option<u64> {
    match value {
        Value::Binary(bytes) => bytes.last_chunk().map(|last| u64::from_be_bytes(*last)),
        _ => value.as_u64().or_else(|| value.as_i64().map(|hash| hash as u64)),
    }
}

fn extra(list: Option<&Value>, adapter: Option<&[u8]>) -> Vec<Vec<u8>> {
    let list = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match list {
        [Value::String(first), rest @ ..] if Some(first.as_bytes()) == adapter => rest.iter().map(key).collect(),
        _ => list.iter().map(key).collect(),
    }
}

fn key(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Binary(bytes) => bytes.clone(),
        Value::Array(parts) if parts.len() == 2 => key(&parts[0]),
        other => encode(other),
    }
}

fn any_hash() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        vec(any::<u8>(), 32).prop_map(Value::Binary)
    ]
}

fn text(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(words).prop_map(Value::from)
}

fn or_nil(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Nil), 3 => value]
}

fn any_key() -> impl Strategy<Value = Value> {
    let name = || text(&["sql", "image", "salt"]);
    let with_offset = (name(), any::<i8>()).prop_map(|(name, offset)| array([name, Value::from(offset)]));
    prop_oneof![name(), with_offset, vec(any::<u8>(), 0..40).prop_map(Value::Binary), any::<u16>().prop_map(Value::from)]
}

type Entries = Vec<(&'static str, Value)>;

fn any_stored() -> impl Strategy<Value = Entries> {
    let shape = (0..4_usize, 0..5_usize, 0..12_usize);
    shape.prop_flat_map(|(blocks, size, odd)| {
        let tokens = if odd == 0 { 3 } else { blocks * size };
        let list = or_nil(vec(any_key(), 0..4).prop_map(Value::Array));
        let first = (
            vec(any_hash(), blocks).prop_map(Value::Array),
            or_nil(any_hash()),
            vec(any::<u32>().prop_map(Value::from), tokens).prop_map(Value::Array),
            or_nil(Just(Value::from(3))),
            or_nil(text(&["GPU", "CPU", "SSD"])),
            or_nil(text(&["sql", "chat"])),
        );
        let second = (
            or_nil(vec(list, 0..5).prop_map(Value::Array)),
            or_nil((0..9_u64).prop_map(Value::from)),
            or_nil(text(&["full_attention", "mamba"])),
        );
        (first, second).prop_map(move |(first, second)| {
            let number = if first.5.is_nil() { Value::Nil } else { first.3 };
            vec![
                ("type", Value::from("BlockStored")),
                ("block_hashes", first.0),
                ("parent_block_hash", first.1),
                ("token_ids", first.2),
                ("block_size", Value::from(size as u64)),
                ("lora_id", number),
                ("medium", first.4),
                ("lora_name", first.5),
                ("extra_keys", second.0),
                ("group_idx", second.1),
                ("kv_cache_spec_kind", second.2),
            ]
        })
    })
}

fn any_entries() -> impl Strategy<Value = Entries> {
    let removed = (vec(any_hash(), 0..4), or_nil(text(&["GPU", "CPU", "SSD"])), or_nil((0..9_u64).prop_map(Value::from)));
    let removed = removed.prop_map(|(hashes, medium, group)| {
        let hashes = Value::Array(hashes);
        vec![("type", Value::from("BlockRemoved")), ("block_hashes", hashes), ("medium", medium), ("group_idx", group)]
    });
    let tag = text(&["AllBlocksCleared", "BlockMoved"]).prop_map(|tag| vec![("type", tag)]);
    prop_oneof![6 => any_stored(), 3 => removed, 1 => tag]
}

/// Entries as an array without nils at its end, or as a map in any order with names that nobody knows.
fn any_event() -> impl Strategy<Value = Value> {
    let names = vec((text(&["skipped_parent_block_hash", "ownership"]), any::<u32>().prop_map(Value::from)), 0..3);
    let late = (or_nil(text(&["tenant"])), or_nil(text(&["NEW", "REUSED"])));
    (any_entries(), any::<bool>(), any::<prop::sample::Index>(), names, late).prop_map(
        |(mut entries, as_map, turn, names, late)| {
            if !as_map {
                let values = entries.into_iter().map(|(_, value)| value);
                let values = values.rev().skip_while(Value::is_nil).collect::<Vec<_>>();
                return Value::Array(values.into_iter().rev().collect());
            }
            entries.extend([("cache_salt", late.0), ("origin", late.1)]);
            let at = turn.index(entries.len());
            entries.rotate_left(at);
            let named = entries.into_iter().map(|(name, value)| (Value::from(name), value));
            Value::Map(names.into_iter().chain(named).collect())
        },
    )
}

proptest! {
    #[test]
    fn events_are_read_as_another_reader_reads_them(events in vec(any_event(), 0..6), outer_map in any::<bool>()) {
        let outer = if outer_map {
            encode(&map(&[("ts", Value::from(1.0)), ("events", Value::Array(events.clone()))]))
        } else {
            batch(events.clone())
        };
        prop_assert_eq!(decode(&outer), events.iter().map(read).collect::<Vec<_>>());
    }

    /// No panic; and every whole MessagePack value of `rmpv`'s is passed over to the byte.
    #[test]
    fn any_bytes_decode_or_do_not(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(batch) = Batch::new(&bytes) {
            for event in batch.take(1000).flatten() {
                Owned::of(&event);
            }
        }
        let mut rest = &bytes[..];
        if rmpv::decode::read_value(&mut rest).is_ok() {
            let mut reader = msgpack::Reader::new(&bytes);
            prop_assert_eq!(reader.value().map(<[u8]>::len), Some(bytes.len() - rest.len()));
        }
    }
}
