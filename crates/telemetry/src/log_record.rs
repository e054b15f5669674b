//! A log record as OTLP has it, appended to a buffer of records.

use crate::{
    attributes::{Attributes, STRING_VALUE},
    ids::{SpanId, TraceId},
    protobuf,
    span::ITEMS_FIELD,
};

/// Longest body, in bytes; what is longer is cut.
pub const MAX_BODY: usize = 64 << 10;

/// Data that every record has.
#[derive(Clone, Copy, Debug)]
pub struct RecordHead<'a> {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// When the gateway made the record, nanoseconds since 1970.
    pub observed: u64,
    /// The span that it belongs to, and the flags of its trace.
    pub span: Option<(TraceId, SpanId, u8)>,
    /// The text.
    pub body: Option<&'a str>,
}

/// Appends a record to a buffer of them; `write` gives it its attributes.
pub fn append_record(records: &mut Vec<u8>, head: &RecordHead<'_>, write: impl FnOnce(&mut Attributes<'_>)) {
    protobuf::nested_field(records, ITEMS_FIELD, |out| {
        protobuf::fixed64_field(out, 1, head.time);
        if let Some(body) = head.body {
            let body = &body[..body.floor_char_boundary(MAX_BODY)];
            protobuf::nested_field(out, 5, |out| protobuf::bytes_field(out, STRING_VALUE, body.as_bytes()));
        }
        write(&mut Attributes::new(out, 6));
        if let Some((trace_id, span_id, flags)) = head.span {
            protobuf::fixed32_field(out, 8, flags.into());
            protobuf::bytes_field(out, 9, trace_id.as_bytes());
            protobuf::bytes_field(out, 10, span_id.as_bytes());
        }
        protobuf::fixed64_field(out, 11, head.observed);
    });
}
