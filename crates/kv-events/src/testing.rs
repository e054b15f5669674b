//! Events as engines write them.

use rmpv::Value;

pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("a vector takes all");
    bytes
}

pub(crate) fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(entries.iter().map(|(name, value)| (Value::from(*name), value.clone())).collect())
}

pub(crate) fn array<const N: usize>(values: [Value; N]) -> Value {
    Value::Array(values.into())
}

pub(crate) fn ints(values: impl IntoIterator<Item = u64>) -> Value {
    Value::Array(values.into_iter().map(Value::from).collect())
}

/// Batch as vLLM writes it.
pub(crate) fn batch(events: Vec<Value>) -> Vec<u8> {
    encode(&array([Value::from(1.5), Value::Array(events), Value::from(0)]))
}

/// BlockStored of full attention on the GPU, as a map.
pub(crate) fn stored(hashes: &[u64], parent: Option<u64>, tokens: &[u32], block_size: u32, rest: &[(&str, Value)]) -> Value {
    let start = [
        ("type", Value::from("BlockStored")),
        ("block_hashes", ints(hashes.iter().copied())),
        ("parent_block_hash", parent.map_or(Value::Nil, Value::from)),
        ("token_ids", ints(tokens.iter().map(|token| u64::from(*token)))),
        ("block_size", Value::from(block_size)),
    ];
    map(&[&start[..], rest].concat())
}

/// BlockRemoved, as a map.
pub(crate) fn removed(hashes: &[u64], rest: &[(&str, Value)]) -> Value {
    let start = [("type", Value::from("BlockRemoved")), ("block_hashes", ints(hashes.iter().copied()))];
    map(&[&start[..], rest].concat())
}
