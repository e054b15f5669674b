//! Attributes of a span, an event, a log record or a resource: OTLP's `KeyValue`.

use std::fmt;

use crate::{
    protobuf,
    span::{MAX_ATTRIBUTES, MAX_TEXT},
    text_writer::TextWriter,
};

pub(crate) const STRING_VALUE: u32 = 1;
const ARRAY_VALUE: u32 = 5;

/// Keys of a `KeyValue`'s two fields on the wire, and of the kinds of an `AnyValue`.
const KEY: u8 = 0x0a;
const VALUE: u8 = 0x12;
const STRING: u8 = 0x0a;
const BOOL: u8 = 0x10;
const INT: u8 = 0x18;
const DOUBLE: u8 = 0x21;
/// Longest key and text together that all lengths of an attribute are a byte each for.
const MAX_SHORT: usize = 0x7f - 6;

/// Appends attributes to a message.
pub struct Attributes<'o> {
    pub(crate) out: &'o mut Vec<u8>,
    field: u32,
    pub(crate) count: u32,
}

impl<'o> Attributes<'o> {
    /// Attributes of a message that has them in this field, below 16.
    pub(crate) fn new(out: &'o mut Vec<u8>, field: u32) -> Self {
        Self { out, field, count: 0 }
    }

    /// A text, cut where it is longer than [`MAX_TEXT`].
    #[inline]
    pub fn text(&mut self, key: &str, value: &str) {
        if !self.takes_one() {
            return;
        }
        let length = key.len() + value.len();
        if length > MAX_SHORT {
            return self.long_text(key, value);
        }
        self.out.reserve(length + 8);
        self.out.extend_from_slice(&[self.message_key(), length as u8 + 6, KEY, key.len() as u8]);
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(&[VALUE, value.len() as u8 + 2, STRING, value.len() as u8]);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// A text that the caller has bounded.
    pub fn whole_text(&mut self, key: &str, value: &str) {
        self.value(key, |out| protobuf::bytes_field(out, STRING_VALUE, value.as_bytes()));
    }

    /// A text, if there is one.
    #[inline]
    pub fn option(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A text that is put together on the way.
    #[inline]
    pub fn built(&mut self, key: &str, write: impl FnOnce(&mut TextWriter<'_>)) {
        if !self.takes_one() {
            return;
        }
        let begin = self.out.len();
        if key.len() > MAX_SHORT {
            write(&mut TextWriter::new(self.out));
            return self.move_text(key, begin, begin);
        }
        self.out.reserve(key.len() + 8);
        self.out.extend_from_slice(&[self.message_key(), 0, KEY, key.len() as u8]);
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(&[VALUE, 0, STRING, 0]);
        let content = self.out.len();
        write(&mut TextWriter::new(self.out));
        let length = self.out.len() - content;
        if key.len() + length > MAX_SHORT {
            return self.move_text(key, begin, content);
        }
        self.out[begin + 1] = (key.len() + length) as u8 + 6;
        self.out[content - 3] = length as u8 + 2;
        self.out[content - 1] = length as u8;
    }

    /// A text that a type writes itself.
    pub fn shown(&mut self, key: &str, value: impl fmt::Display) {
        self.built(key, |text| text.show(value));
    }

    /// A list of texts.
    pub fn texts<'v>(&mut self, key: &str, values: impl IntoIterator<Item = &'v str>) {
        self.value(key, |out| {
            protobuf::nested_field(out, ARRAY_VALUE, |out| {
                for value in values {
                    protobuf::nested_field(out, 1, |out| protobuf::bytes_field(out, STRING_VALUE, cut(value).as_bytes()));
                }
            });
        });
    }

    /// A number; the largest that the protocol has, where it is larger.
    #[inline]
    pub fn number(&mut self, key: &str, value: u64) {
        let (mut content, mut length, mut rest) = ([INT; 11], 1, value.min(i64::MAX as u64));
        while rest >= 0x80 {
            content[length] = rest as u8 | 0x80;
            (rest, length) = (rest >> 7, length + 1);
        }
        content[length] = rest as u8;
        self.plain(key, &content[..=length]);
    }

    /// A number with a fraction.
    pub fn fraction(&mut self, key: &str, value: f64) {
        let mut content = [DOUBLE; 9];
        content[1..].copy_from_slice(&value.to_le_bytes());
        self.plain(key, &content);
    }

    /// Yes or no.
    pub fn flag(&mut self, key: &str, value: bool) {
        self.plain(key, &[BOOL, value.into()]);
    }

    /// A value of a few bytes.
    #[inline]
    fn plain(&mut self, key: &str, content: &[u8]) {
        let length = key.len() + content.len();
        if length > MAX_SHORT {
            return self.value(key, |out| out.extend_from_slice(content));
        }
        if !self.takes_one() {
            return;
        }
        self.out.reserve(length + 6);
        self.out.extend_from_slice(&[self.message_key(), length as u8 + 4, KEY, key.len() as u8]);
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(&[VALUE, content.len() as u8]);
        self.out.extend_from_slice(content);
    }

    /// Counts one more; whether it has room.
    fn takes_one(&mut self) -> bool {
        self.count += 1;
        self.count <= MAX_ATTRIBUTES
    }

    fn message_key(&self) -> u8 {
        (self.field << 3 | 2) as u8
    }

    fn value(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.takes_one() {
            return;
        }
        protobuf::nested_field(self.out, self.field, |out| {
            protobuf::bytes_field(out, 1, key.as_bytes());
            protobuf::nested_field(out, 2, write);
        });
    }

    #[cold]
    fn long_text(&mut self, key: &str, value: &str) {
        let value = cut(value).as_bytes();
        let text = protobuf::field_length(STRING_VALUE, value.len());
        let pair = protobuf::field_length(1, key.len()) + protobuf::field_length(2, text);
        self.out.reserve(protobuf::field_length(self.field, pair));
        protobuf::header(self.out, self.field, pair);
        protobuf::bytes_field(self.out, 1, key.as_bytes());
        protobuf::header(self.out, 2, text);
        protobuf::bytes_field(self.out, STRING_VALUE, value);
    }

    /// Writes an attribute once more that began at `begin`, and whose text begins at `content` and is longer than was thought.
    #[cold]
    fn move_text(&mut self, key: &str, begin: usize, content: usize) {
        let text = self.out.split_off(content);
        self.out.truncate(begin);
        // Pieces of texts are texts.
        self.long_text(key, str::from_utf8(&text).unwrap_or_default());
    }
}

/// The text, cut between two characters.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
