//! Writer of protobuf messages: fields are appended to a buffer, without a message in between.

/// Wire type of a number of variable length.
const VARINT: u32 = 0;
/// Wire type of eight bytes.
const FIXED64: u32 = 1;
/// Wire type of bytes, texts and messages.
const LENGTH_DELIMITED: u32 = 2;
/// Wire type of four bytes.
const FIXED32: u32 = 5;

pub(crate) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn varint_field(out: &mut Vec<u8>, field: u32, number: u64) {
    key(out, field, VARINT);
    varint(out, number);
}

pub(crate) fn fixed64_field(out: &mut Vec<u8>, field: u32, number: u64) {
    key(out, field, FIXED64);
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn fixed32_field(out: &mut Vec<u8>, field: u32, number: u32) {
    key(out, field, FIXED32);
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn bytes_field(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    header(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Key and length of a field whose bytes follow.
pub(crate) fn header(out: &mut Vec<u8>, field: u32, length: usize) {
    key(out, field, LENGTH_DELIMITED);
    varint(out, length as u64);
}

/// A field whose bytes `write` appends: a message, or a text that is made on the way.
pub(crate) fn nested_field(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, LENGTH_DELIMITED);
    // Most lengths take a byte; for others what follows moves on.
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    let room = varint_length(length as u64);
    if room > 1 {
        out.resize(out.len() + room - 1, 0);
        out.copy_within(at + 1..at + 1 + length, at + room);
    }
    let mut number = length as u64;
    for byte in &mut out[at..at + room] {
        *byte = number as u8 | 0x80;
        number >>= 7;
    }
    out[at + room - 1] &= 0x7f;
}

/// The bytes of a field that is a message by itself, without its key and its length.
pub(crate) fn content(field: &[u8]) -> Option<&[u8]> {
    let header = field.get(1..)?.iter().position(|byte| byte & 0x80 == 0)? + 2;
    field.get(header..)
}

/// Length of a field of bytes, with its key.
pub(crate) fn field_length(field: u32, length: usize) -> usize {
    varint_length(u64::from(field << 3)) + varint_length(length as u64) + length
}

fn varint_length(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn key(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from(field << 3 | wire_type));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Outer {
        #[prost(message, optional, tag = "1")]
        inner: Option<Inner>,
        #[prost(string, tag = "20")]
        after: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Inner {
        #[prost(bytes = "vec", tag = "3")]
        bytes: Vec<u8>,
    }

    #[test]
    fn a_message_of_any_length_reads_as_it_was_written() {
        for length in [0, 1, 123, 124, 125, 126, 127, 128, 129, 16_379, 16_380, 16_384, 70_000] {
            let bytes: Vec<u8> = (0..length).map(|number| number as u8).collect();
            let mut out = b"before".to_vec();
            nested_field(&mut out, 1, |out| bytes_field(out, 3, &bytes));
            let expected = field_length(1, field_length(3, length));
            assert_eq!(out.len() - b"before".len(), expected);
            bytes_field(&mut out, 20, b"after");
            let read: Outer = prost::Message::decode(&out[b"before".len()..]).unwrap();
            assert_eq!((read.inner.unwrap().bytes, read.after.as_str()), (bytes, "after"));
        }
    }
}
