//! JSON values as serde reads them, with the paths of unknown fields and of errors.
//!
//! One type serves all that is decoded. Deserializers that wrap others do the same, but the compiler builds them anew for each of
//! some thousand types, which was a third of the program. For the same reason generic functions here are short, and values are
//! borrowed: code that owns nothing has nothing to drop.

use std::cell::{Cell, RefCell};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor, value::StrDeserializer,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Number, Value};

use super::path::Path;
use super::unknown_field::UnknownField;

/// Decodes a value. Fields that its type does not know are added to `ignored`; with an error comes the path of what failed.
pub(super) fn decode<T: DeserializeOwned>(value: Value, root: &str, ignored: &mut Vec<UnknownField>) -> Result<T, (String, Error)> {
    let notes = Notes { ignored: RefCell::new(std::mem::take(ignored)), failed: Cell::default() };
    let decoded = T::deserialize(Tracked { value: &value, at: Path::Root(root), siblings: &[], fields: &[], notes: &notes });
    *ignored = notes.ignored.into_inner();
    decoded.map_err(|error| (notes.failed.into_inner().unwrap_or_else(|| root.to_owned()), error))
}

struct Notes {
    ignored: RefCell<Vec<UnknownField>>,
    /// Place of the first error, which is the innermost.
    failed: Cell<Option<String>>,
}

impl Notes {
    /// Decodes what is at a place by the seed of its type.
    fn decode<'de, S: DeserializeSeed<'de>>(
        &self,
        seed: S,
        value: &Value,
        at: Path<'_>,
        siblings: FieldNames,
    ) -> Result<S::Value, Error> {
        let decoded = seed.deserialize(Tracked { value, at, siblings, fields: &[], notes: self });
        if decoded.is_err() {
            self.fail(at);
        }
        decoded
    }

    fn fail(&self, at: Path<'_>) {
        let failed = self.failed.take().unwrap_or_else(|| at.to_string());
        self.failed.set(Some(failed));
    }
}

/// Names of the fields that a struct has; none where they are not known.
type FieldNames = &'static [&'static str];

/// A value at its place.
#[derive(Clone, Copy)]
struct Tracked<'p> {
    value: &'p Value,
    at: Path<'p>,
    /// Fields that its place has.
    siblings: FieldNames,
    /// Fields that its own type has.
    fields: FieldNames,
    notes: &'p Notes,
}

impl<'de> Deserializer<'de> for Tracked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self { value, at, fields: known, notes, .. } = self;
        match value {
            Value::Array(items) => {
                let mut items = Items { left: items.iter(), next: 0, at: &at, notes };
                let read = visitor.visit_seq(&mut items)?;
                items.finish()?;
                Ok(read)
            }
            Value::Object(fields) => visitor.visit_map(Fields { left: fields.iter(), next: None, at: &at, known, notes }),
            // The value's own `deserialize_any` would do, but compiles all of serde_json's decoding once more for each type.
            Value::String(text) => visitor.visit_str(text),
            Value::Number(number) => visit_number(number, visitor),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Null => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _name: &'static str, fields: FieldNames, visitor: V) -> Result<V::Value, Error> {
        Tracked { fields, ..self }.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Self { value, at, notes, .. } = self;
        match value {
            Value::Object(fields) if fields.len() == 1 => match fields.iter().next() {
                Some((name, value)) => visitor.visit_enum(Variant { name, value, at: &at, notes }),
                None => Err(no_variant(value)),
            },
            Value::String(name) => visitor.visit_enum(StrDeserializer::new(name)),
            other => Err(no_variant(other)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.notes.ignored.borrow_mut().push(UnknownField::at(self.at, self.siblings));
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Error> {
    match (number.as_u64(), number.as_i64()) {
        (Some(value), _) => visitor.visit_u64(value),
        (None, Some(value)) => visitor.visit_i64(value),
        (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// The error for a value that names no variant of an enum.
fn no_variant(value: &Value) -> Error {
    let unexpected = match value {
        Value::Object(_) => return Error::invalid_value(Unexpected::Map, &"map with a single key"),
        Value::Array(_) => Unexpected::Seq,
        Value::String(text) => Unexpected::Str(text),
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Null => Unexpected::Unit,
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Unexpected::Unsigned(value),
            (None, Some(value)) => Unexpected::Signed(value),
            (None, None) => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
    };
    Error::invalid_type(unexpected, &"string or map")
}

struct Items<'p> {
    left: std::slice::Iter<'p, Value>,
    next: usize,
    at: &'p Path<'p>,
    notes: &'p Notes,
}

impl Items<'_> {
    /// Checks that nothing is left.
    fn finish(&self) -> Result<(), Error> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(Error::invalid_length(self.next + left, &"fewer elements in array")),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(value) = self.left.next() else { return Ok(None) };
        let at = Path::Item(self.at, self.next);
        self.next += 1;
        self.notes.decode(seed, value, at, &[]).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

struct Fields<'p> {
    left: serde_json::map::Iter<'p>,
    next: Option<(&'p String, &'p Value)>,
    at: &'p Path<'p>,
    known: FieldNames,
    notes: &'p Notes,
}

impl<'p> Fields<'p> {
    /// Moves to the next field; its name, if there is one.
    fn advance(&mut self) -> Option<StrDeserializer<'p, Error>> {
        self.next = self.left.next();
        self.next.map(|(name, _)| StrDeserializer::new(name))
    }

    fn take(&mut self) -> Result<(&'p String, &'p Value), Error> {
        self.next.take().ok_or_else(|| Error::custom("a value was asked for before its name"))
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.advance().map(|name| seed.deserialize(name)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (name, value) = self.take()?;
        self.notes.decode(seed, value, Path::Field(self.at, name), self.known)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// An enum's variant with content, as an object of one field.
#[derive(Clone, Copy)]
struct Variant<'p> {
    name: &'p str,
    value: &'p Value,
    at: &'p Path<'p>,
    notes: &'p Notes,
}

impl<'de, 'p> EnumAccess<'de> for Variant<'p> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        Ok((seed.deserialize(StrDeserializer::<Error>::new(self.name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.newtype_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        self.notes.decode(seed, self.value, Path::Field(self.at, self.name), &[])
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        self.struct_variant(&[], visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: FieldNames, visitor: V) -> Result<V::Value, Error> {
        let Self { name, value, at, notes } = self;
        Tracked { value, at: Path::Field(at, name), siblings: &[], fields, notes }.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests;
