//! Trace context of a request: W3C's headers `traceparent` and `tracestate` (Trace Context, level 2).

use crate::ids::{SpanId, TraceId, from_hex, write_hex};

/// Members that a `tracestate` may have.
const MAX_MEMBERS: usize = 32;
/// Length of a key, and of a value, in bytes.
const MAX_PART: usize = 256;
/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// Context that a request came with, in whatever form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteContext {
    /// The span that sent the request, if a valid one is named.
    pub parent: Option<ParentSpan>,
    /// Whether the sender keeps its span; `None` where it leaves that to others.
    pub is_sampled: Option<bool>,
}

/// A span of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentSpan {
    /// Its trace.
    pub trace_id: TraceId,
    /// Itself.
    pub span_id: SpanId,
    /// Whether the trace's identity is random in its last 56 bits, as far as the header says.
    pub is_random: bool,
}

/// A `traceparent`'s value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that is the parent of the receiver's.
    pub span_id: SpanId,
    /// Whether that span is kept.
    pub is_sampled: bool,
    /// Whether the trace's identity is random.
    pub is_random: bool,
}

impl Traceparent {
    /// Reads a value; `None` where it is not valid, after which a trace begins anew.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let fixed = value.get(..LENGTH)?;
        let is_whole = match (&fixed[..2], &value[LENGTH..]) {
            (b"00", rest) => rest.is_empty(),
            (b"ff", _) => false,
            // Additions of later versions come after another hyphen.
            (_, rest) => rest.first().is_none_or(|&byte| byte == b'-'),
        };
        let has_capitals = fixed.iter().any(u8::is_ascii_uppercase);
        if !is_whole || has_capitals || [fixed[2], fixed[35], fixed[52]] != [b'-'; 3] {
            return None;
        }
        from_hex::<1>(&fixed[..2])?;
        let [flags] = from_hex(&fixed[53..])?;
        Some(Self {
            trace_id: TraceId::from_hex(&fixed[3..35])?,
            span_id: SpanId::from_hex(&fixed[36..52])?,
            is_sampled: flags & SAMPLED != 0,
            is_random: flags & RANDOM != 0,
        })
    }

    /// The value, in version 00.
    pub fn to_bytes(self) -> [u8; LENGTH] {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace_id.as_bytes(), &mut value[3..35]);
        write_hex(self.span_id.as_bytes(), &mut value[36..52]);
        write_hex(&[self.flags()], &mut value[53..]);
        value
    }

    /// The flags: sampled, random.
    pub fn flags(self) -> u8 {
        (u8::from(self.is_sampled) * SAMPLED) | (u8::from(self.is_random) * RANDOM)
    }
}

impl From<Traceparent> for RemoteContext {
    fn from(value: Traceparent) -> Self {
        let Traceparent { trace_id, span_id, is_sampled, is_random } = value;
        Self { parent: Some(ParentSpan { trace_id, span_id, is_random }), is_sampled: Some(is_sampled) }
    }
}

/// Whether the lines of a `tracestate` are valid together: at most 32 members, each key once. Invalid ones are not passed on.
pub fn is_tracestate<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> bool {
    let mut keys: [&[u8]; MAX_MEMBERS] = [&[]; MAX_MEMBERS];
    let mut count = 0;
    for member in lines.into_iter().flat_map(|line| line.split(|&byte| byte == b',')) {
        let member = trim(member);
        if member.is_empty() {
            continue;
        }
        let Some(at) = member.iter().position(|&byte| byte == b'=') else { return false };
        let (key, value) = (&member[..at], &member[at + 1..]);
        if count == MAX_MEMBERS || keys[..count].contains(&key) || !is_key(key) || !is_value(value) {
            return false;
        }
        keys[count] = key;
        count += 1;
    }
    true
}

fn is_key(key: &[u8]) -> bool {
    let Some((first, rest)) = key.split_first() else { return false };
    let is_known = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
    let begins = first.is_ascii_lowercase() || first.is_ascii_digit();
    begins && key.len() <= MAX_PART && rest.iter().all(is_known)
}

/// Printable, without comma and equals sign, and not ending in a space, which [`trim`] sees to.
fn is_value(value: &[u8]) -> bool {
    let is_known = |byte: &u8| matches!(byte, 0x20..=0x7e) && !b",=".contains(byte);
    (1..=MAX_PART).contains(&value.len()) && value.iter().all(is_known)
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests;
