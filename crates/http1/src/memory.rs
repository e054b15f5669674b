//! Cache of one connection's heads: nearly all heads of a connection are alike, and a head that was parsed before is not parsed again.

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use crate::{
    Framing, MAX_HEAD,
    fields::{Spans, fields},
};

/// The longest head that is remembered, in bytes: what an idle connection holds is in proportion.
const LONGEST: usize = 2048;
/// Values that may differ from those of the head that is remembered.
const MOST_CHANGES: usize = 4;
/// A head is remembered when so many in a row were unlike the one remembered before, and then each time that number has doubled.
const FIRST_REMEMBERED: u32 = 2;

/// Fields whose values decide how a message is read beside its length: with another value a head is not alike.
static DECISIVE: [HeaderName; 5] = [header::CONNECTION, header::EXPECT, header::TE, header::TRANSFER_ENCODING, header::UPGRADE];

/// The memory of one connection, in one direction. `S` is what a head says beside its fields and its body's end.
pub(crate) struct Memory<S> {
    known: Option<Box<Known<S>>>,
    /// Heads in a row that were not alike.
    unlike: u32,
}

/// A head that was parsed.
struct Known<S> {
    says: S,
    /// In memory of its own: what was read may be far larger.
    head: Bytes,
    lines: Vec<Line>,
    /// Its fields, with room in the table for those that are added on the way: a copy has the same table.
    fields: HeaderMap,
    ends: Ends,
}

/// How a remembered head's body ends.
#[derive(Clone, Copy)]
enum Ends {
    /// After as many bytes as `Content-Length` says, if it is there.
    Length(u64),
    Chunked,
}

struct Line {
    name: HeaderName,
    /// Range of the value within the head.
    range: Range<usize>,
}

/// A head that is like the one before.
pub(crate) struct Alike<'a, S> {
    pub(crate) says: &'a S,
    pub(crate) fields: HeaderMap,
    pub(crate) framing: Framing,
}

type Changes = SmallVec<[(usize, HeaderValue); MOST_CHANGES]>;

impl<S> Default for Memory<S> {
    fn default() -> Self {
        Self { known: None, unlike: 0 }
    }
}

impl<S> Memory<S> {
    /// Takes a head off what was read, if all of it is there and it is like the one remembered.
    pub(crate) fn take(&mut self, read: &mut BytesMut) -> Option<Alike<'_, S>> {
        // It is asked before anything has come, too.
        if read.is_empty() {
            return None;
        }
        let Known { says, head, lines, fields, ends } = &**self.known.as_ref()?;
        let (changes, end) = compare(head, lines, read)?;
        let (mut fields, mut ends) = (fields.clone(), *ends);
        // Names are there once each, so the map's order is that of the lines.
        let mut values = fields.values_mut().enumerate();
        for (index, value) in changes {
            if lines[index].name == header::CONTENT_LENGTH {
                ends = Ends::Length(number(&value)?);
            }
            let (_, old) = values.find(|(at, _)| *at == index)?;
            *old = value;
        }
        read.advance(end);
        self.unlike = 0;
        let framing = match ends {
            Ends::Length(length) => Framing::Length(length),
            Ends::Chunked => Framing::chunked(),
        };
        Some(Alike { says, fields, framing })
    }

    /// Told of a head that was parsed, whose fields lie at `spans` and whose body ends so; remembers it where that is worth it. `says` is
    /// what it says, unless it is one that cannot stand for others.
    pub(crate) fn parsed(&mut self, head: &[u8], spans: &Spans, framing: &Framing, says: impl FnOnce() -> Option<S>) {
        self.unlike = self.unlike.saturating_add(1);
        if self.unlike >= FIRST_REMEMBERED && self.unlike.is_power_of_two() && head.len() <= LONGEST {
            self.known = says().and_then(|says| Known::of(head, spans, framing, says)).map(Box::new);
        }
    }
}

#[cfg(test)]
impl<S> Memory<S> {
    /// Whether the last head was like the one remembered.
    pub(crate) fn helped(&self) -> bool {
        self.unlike == 0 && self.known.is_some()
    }
}

impl<S> Known<S> {
    /// `None` for a head whose parts are not where they would be looked for.
    fn of(head: &[u8], spans: &Spans, framing: &Framing, says: S) -> Option<Self> {
        let head = Bytes::copy_from_slice(head);
        let fields = fields(&head, spans).ok()?;
        let begins = spans.iter().skip(1).map(|span| span[0] as usize).chain([head.len().checked_sub(2)?]);
        let follow = spans.iter().zip(begins).all(|(span, next)| head.get(span[3] as usize..next) == Some(b"\r\n"));
        // A value cannot be put in by its name if the name comes twice.
        if !follow || fields.keys_len() != spans.len() || !head.ends_with(b"\r\n") {
            return None;
        }
        let line = |span: &[u32; 4]| {
            let [name, name_end, value, value_end] = span.map(|at| at as usize);
            Some(Line { name: HeaderName::from_bytes(&head[name..name_end]).ok()?, range: value..value_end })
        };
        let lines = spans.iter().map(line).collect::<Option<_>>()?;
        let ends = match framing {
            Framing::Chunked(_) => Ends::Chunked,
            Framing::Length(_) => Ends::Length(fields.get(header::CONTENT_LENGTH).map_or(Some(0), number)?),
            Framing::UntilClose | Framing::Switched => return None,
        };
        Some(Self { says, head, lines, fields, ends })
    }
}

/// Values of a head that differ from the remembered one, and the head's end; `None` if it is not alike, or incomplete.
fn compare(head: &[u8], lines: &[Line], read: &[u8]) -> Option<(Changes, usize)> {
    let mut changes = Changes::new();
    let (mut at, mut to) = (0, 0);
    let mut left = lines.iter().enumerate();
    loop {
        let same = common(&head[at..], &read[to..]);
        (at, to) = (at + same, to + same);
        if at == head.len() {
            return (to <= MAX_HEAD).then_some((changes, to));
        }
        let (number, line) = left.find(|(_, line)| at <= line.range.end)?;
        let begin = to - at.checked_sub(line.range.start)?;
        let end = to + memchr::memchr(b'\r', read.get(to..read.len().min(to + LONGEST))?)?;
        let value = &read[begin..end];
        let is_trimmed = [value.first(), value.last()].into_iter().all(|end| end.is_some_and(|byte| !matches!(byte, b' ' | b'\t')));
        if changes.len() == MOST_CHANGES || !is_trimmed || DECISIVE.contains(&line.name) {
            return None;
        }
        changes.push((number, HeaderValue::from_bytes(value).ok()?));
        (at, to) = (line.range.end, end);
    }
}

/// How many bytes two texts begin with alike.
fn common(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0).take_while(|(one, other)| one == other).count();
    let from = blocks * 8;
    from + one[from..].iter().zip(&other[from..]).take_while(|(one, other)| one == other).count()
}

/// The number that a value is, if it is nothing but its digits.
fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    value.to_str().ok()?.parse().ok()
}
