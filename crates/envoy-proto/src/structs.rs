//! `google.protobuf.Struct` in short.

pub use prost_types::{ListValue, Struct, Value, value::Kind};

/// A string.
pub fn string(text: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

/// A list of strings.
pub fn list(texts: impl IntoIterator<Item = impl Into<String>>) -> Value {
    Value { kind: Some(Kind::ListValue(ListValue { values: texts.into_iter().map(string).collect() })) }
}

/// A structure of one field.
pub fn structure(key: &str, value: Value) -> Struct {
    Struct { fields: [(key.to_owned(), value)].into() }
}

/// The strings of a value that is a string or a list of strings; what else is in a list is passed over. `None` where it is neither.
pub fn strings(value: &Value) -> Option<Vec<&str>> {
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(vec![text]),
        Kind::ListValue(list) => Some(list.values.iter().filter_map(text).collect()),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}
