//! JSON: one object, a list, or a stream of objects.

use serde_json::{Deserializer, Value};

use super::Reader;
use super::decode::{Source, decode};
use super::error::{ParseError, Problem};

/// Whether an input is JSON rather than a YAML flow mapping without quotes.
pub(super) fn looks_like_json(text: &str) -> bool {
    let inner = text.trim_start().strip_prefix('{').map(str::trim_start);
    inner.is_some_and(|inner| inner.starts_with(['"', '}']))
}

/// Reads every object of a stream. After an error, reading goes on at the next line that begins with `{`.
pub(super) fn read(text: &str, reader: &mut Reader<'_>) {
    let mut start = 0;
    let mut lines = LineCounter { text, offset: 0, line: 1 };
    while start < text.len() {
        let rest = &text[start..];
        let mut stream = Deserializer::from_str(rest).into_iter::<Unique>();
        let mut begin = start;
        loop {
            if !reader.has_room() {
                return;
            }
            let next = stream.next();
            let blank = text[begin..].len() - text[begin..].trim_start().len();
            let line = lines.at(begin + blank);
            match next {
                None => return,
                Some(Ok(Unique(value))) => decode(value, &Source { line, find_line: &|_| None }, reader),
                Some(Err(error)) => {
                    let within = lines.peek(start, error.line());
                    let shown = !super::may_hold_secret(&text[begin..]);
                    let problem = if shown { Problem::Json(message(&error)) } else { Problem::Unshown };
                    reader.fail(ParseError { line: Some(within.max(line)), ..ParseError::of_input(reader.origin, problem) });
                    break;
                }
            }
            begin = start + stream.byte_offset();
        }
        // The unreadable part may itself begin with a line of its own.
        let after = text.ceil_char_boundary(begin + 1);
        start = match text[after..].find("\n{") {
            Some(found) => after + found + 1,
            None => return,
        };
    }
}

fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.find(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// Counts lines in one pass over growing offsets.
struct LineCounter<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl LineCounter<'_> {
    fn at(&mut self, offset: usize) -> usize {
        if offset > self.offset {
            self.line += self.text[self.offset..offset].matches('\n').count();
            self.offset = offset;
        }
        self.line
    }

    /// The line that is the `nth` (from 1) of the text from `start` on.
    fn peek(&mut self, start: usize, nth: usize) -> usize {
        let before = if start <= self.offset { self.text[start..self.offset].matches('\n').count() } else { 0 };
        (self.line + nth.max(1) - 1).saturating_sub(before)
    }
}

/// A JSON value in which no object has the same key twice.
struct Unique(Value);

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Unique, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> serde::de::Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique(Value::Null))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Unique(Value::Array(values)))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Unique, A::Error> {
        let mut values = serde_json::Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(serde::de::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            values.insert(key, entries.next_value::<Unique>()?.0);
        }
        Ok(Unique(Value::Object(values)))
    }
}
