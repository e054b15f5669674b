//! A span as OTLP has it, appended to a buffer of spans.

use crate::{
    attributes::Attributes,
    ids::{SpanId, TraceId},
    protobuf,
    text_writer::TextWriter,
};

/// Longest text of an attribute, in bytes; what is longer is cut.
pub const MAX_TEXT: usize = 1024;
/// Attributes that a span may have, OpenTelemetry's limit; further ones are counted.
pub const MAX_ATTRIBUTES: u32 = 128;
/// Events that a span may have; further ones are counted.
const MAX_EVENTS: u32 = 128;
/// The field of a list of items in OTLP's `ScopeSpans`, `ScopeLogs` and `ScopeMetrics`.
pub(crate) const ITEMS_FIELD: u32 = 2;

const ERROR: u64 = 2;
/// The flags say whether the parent is of another process.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Part of a span in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The request as the gateway got it.
    Server,
    /// An attempt at a backend.
    Client,
}

/// Data that every span has.
#[derive(Clone, Copy, Debug)]
pub struct SpanHead<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Itself.
    pub span_id: SpanId,
    /// Its parent.
    pub parent: Option<SpanId>,
    /// The parent is of another process.
    pub is_parent_remote: bool,
    /// `tracestate`, as the request came with it.
    pub trace_state: &'a str,
    /// Flags of `traceparent`.
    pub flags: u8,
    /// Its kind.
    pub kind: SpanKind,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
}

/// Appends a span to a buffer of them; `write` gives it its name, attributes and events.
pub fn append_span(
    spans: &mut Vec<u8>,
    head: &SpanHead<'_>,
    name: impl FnOnce(&mut TextWriter<'_>),
    write: impl FnOnce(&mut SpanWriter<'_>),
) {
    protobuf::nested_field(spans, ITEMS_FIELD, |out| {
        protobuf::bytes_field(out, 1, head.trace_id.as_bytes());
        protobuf::bytes_field(out, 2, head.span_id.as_bytes());
        if !head.trace_state.is_empty() {
            protobuf::bytes_field(out, 3, head.trace_state.as_bytes());
        }
        if let Some(parent) = head.parent {
            protobuf::bytes_field(out, 4, parent.as_bytes());
        }
        protobuf::nested_field(out, 5, |out| name(&mut TextWriter::new(out)));
        protobuf::varint_field(out, 6, if head.kind == SpanKind::Server { 2 } else { 3 });
        protobuf::fixed64_field(out, 7, head.start);
        protobuf::fixed64_field(out, 8, head.end.max(head.start));
        let remote = if head.is_parent_remote { IS_REMOTE } else { 0 };
        let mut span = SpanWriter { attributes: Attributes::new(out, 9), events: 0, is_error: false };
        write(&mut span);
        let SpanWriter { attributes, events, is_error } = span;
        let (out, dropped) = (attributes.out, attributes.count.saturating_sub(MAX_ATTRIBUTES));
        if dropped > 0 {
            protobuf::varint_field(out, 10, dropped.into());
        }
        if events > MAX_EVENTS {
            protobuf::varint_field(out, 12, (events - MAX_EVENTS).into());
        }
        if is_error {
            protobuf::nested_field(out, 15, |out| protobuf::varint_field(out, 3, ERROR));
        }
        protobuf::fixed32_field(out, 16, u32::from(head.flags) | HAS_IS_REMOTE | remote);
    });
}

/// The part of a span that differs from span to span.
pub struct SpanWriter<'o> {
    attributes: Attributes<'o>,
    events: u32,
    is_error: bool,
}

impl<'o> SpanWriter<'o> {
    /// Its attributes.
    pub fn attributes(&mut self) -> &mut Attributes<'o> {
        &mut self.attributes
    }

    /// An event at a time, in nanoseconds since 1970.
    pub fn event(&mut self, name: &str, time: u64, write: impl FnOnce(&mut Attributes<'_>)) {
        self.events += 1;
        if self.events > MAX_EVENTS {
            return;
        }
        protobuf::nested_field(self.attributes.out, 11, |out| {
            protobuf::fixed64_field(out, 1, time);
            protobuf::bytes_field(out, 2, name.as_bytes());
            write(&mut Attributes::new(out, 3));
        });
    }

    /// Its status is an error.
    pub fn fail(&mut self) {
        self.is_error = true;
    }
}

#[cfg(test)]
mod tests;
