//! The model's name in a response, changed as it passes: a client whose model was rewritten reads the name that it asked for.
//!
//! A response names its model in the member `model` of its object, or of that object's `response` (OpenAI's Responses) or `message`
//! (Anthropic's messages); in a stream each event does. Nothing else is touched, not even what looks alike within a text.

use std::mem;

use bytes::{Bytes, BytesMut};

use crate::json::push_string;

/// A longer value is not a model's name, in bytes.
const MAX_NAME: usize = 1 << 10;
/// Names of members that count, the longest of them.
const MAX_KEY: usize = 8;
/// The field of an event stream that has the data.
const DATA: &[u8] = b"data:";

/// Changes one response's model name. Bytes of a value that might be the name wait until it is there, at most 1 KiB.
#[derive(Debug)]
pub struct ModelRename {
    /// As JSON, quotes included.
    from: Bytes,
    to: Bytes,
    line: Option<Line>,
    json: Json,
    /// A value that came in part.
    held: BytesMut,
}

/// Place in a line of an event stream.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// This much of `data:` was there.
    Start(usize),
    Data,
    Other,
}

/// Place in a document.
#[derive(Clone, Copy, Debug, Default)]
struct Json {
    depth: u32,
    /// Whether the container at depth 1, and that at depth 2, is an object whose members count.
    counts: [bool; 2],
    /// Whether the next string is a member's name.
    at_key: bool,
    /// The member whose value comes.
    member: Member,
    text: Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Member {
    Model,
    Nested,
    #[default]
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    /// Outside of strings.
    #[default]
    None,
    Plain {
        escaped: bool,
    },
    /// A member's name, of which this much is known.
    Key {
        escaped: bool,
        name: [u8; MAX_KEY],
        length: usize,
    },
    /// A value that may be the model's name.
    Value {
        escaped: bool,
    },
}

impl ModelRename {
    /// Puts `to` where a response says `from`. `events`: the response is an event stream, else one JSON document.
    pub fn new(from: &str, to: &str, events: bool) -> Self {
        let quoted = |name: &str| {
            let mut out = Vec::with_capacity(name.len() + 2);
            push_string(&mut out, name);
            Bytes::from(out)
        };
        let line = events.then_some(Line::Start(0));
        Self { from: quoted(from), to: quoted(to), line, json: Json::default(), held: BytesMut::new() }
    }

    /// The next piece of the response, changed. It may be empty, where all of it has to wait; nothing waits beyond the last.
    pub fn feed(&mut self, piece: &Bytes, is_last: bool) -> Bytes {
        let piece = self.change(piece);
        if !is_last || self.held.is_empty() {
            return piece;
        }
        [piece, self.finish()].concat().into()
    }

    fn change(&mut self, piece: &Bytes) -> Bytes {
        let mut out = Output { piece, passed: 0, changed: BytesMut::new(), has_changed: false };
        // Beginning of a value in this piece; what came of it before is held.
        let mut value = 0;
        let mut pos = 0;
        while pos < piece.len() {
            if self.line.is_some() && matches!(piece[pos], b'\n' | b'\r') {
                // A document ends with its line, and with it a string that has no end.
                self.let_go(&mut out);
                (self.line, self.json) = (Some(Line::Start(0)), Json::default());
                pos += 1;
                continue;
            }
            if let Some(line) = self.line
                && !self.in_data(line, piece[pos])
            {
                pos += 1;
                continue;
            }
            let before = self.json.text;
            pos = self.json.step(piece, pos);
            match (before, self.json.text) {
                (Text::None, Text::Value { .. }) => value = pos - 1,
                (Text::Value { .. }, Text::None) => self.end_value(&mut out, value, pos),
                _ => {}
            }
            if matches!(self.json.text, Text::Value { .. }) && self.held.len() + pos - value > MAX_NAME {
                self.json.text = Text::Plain { escaped: false };
                self.let_go(&mut out);
            }
        }
        if matches!(self.json.text, Text::Value { .. }) {
            self.held.extend_from_slice(&piece[value..]);
            out.skip(value, piece.len());
        }
        out.finish()
    }

    /// Gives up what waits at the response's end: a value that has none.
    pub fn finish(&mut self) -> Bytes {
        mem::take(&mut self.held).freeze()
    }

    /// Takes a byte of an event stream's line, not its end; whether it belongs to a document.
    fn in_data(&mut self, line: Line, byte: u8) -> bool {
        match line {
            Line::Data => return true,
            Line::Start(length) if DATA.get(length) == Some(&byte) => {
                self.line = Some(if length + 1 == DATA.len() { Line::Data } else { Line::Start(length + 1) });
            }
            Line::Start(_) | Line::Other => self.line = Some(Line::Other),
        }
        false
    }

    fn end_value(&mut self, out: &mut Output<'_>, value: usize, end: usize) {
        let piece = out.piece;
        let is_name = if self.held.is_empty() {
            piece[value..end] == self.from
        } else {
            self.from.strip_prefix(&*self.held).is_some_and(|rest| *rest == piece[..end])
        };
        if is_name {
            let start = if self.held.is_empty() { value } else { 0 };
            out.skip(start, end);
            out.changed.extend_from_slice(&self.to);
            self.held.clear();
        } else {
            self.let_go(out);
        }
    }

    /// Passes on what was held, before the rest of this piece.
    fn let_go(&mut self, out: &mut Output<'_>) {
        if !self.held.is_empty() {
            out.skip(0, 0);
            out.changed.extend_from_slice(&self.held);
            self.held.clear();
        }
    }
}

/// A piece on its way out: itself, unless something of it changes.
struct Output<'a> {
    piece: &'a Bytes,
    /// Bytes of the piece that are in `changed`, or left out of it.
    passed: usize,
    changed: BytesMut,
    has_changed: bool,
}

impl Output<'_> {
    /// Takes over what comes before `start`, and leaves out the rest up to `end`.
    fn skip(&mut self, start: usize, end: usize) {
        self.has_changed = true;
        self.changed.extend_from_slice(&self.piece[self.passed..start.max(self.passed)]);
        self.passed = end.max(self.passed);
    }

    fn finish(mut self) -> Bytes {
        if !self.has_changed {
            return self.piece.clone();
        }
        self.changed.extend_from_slice(&self.piece[self.passed..]);
        self.changed.freeze()
    }
}

impl Json {
    /// Reads on by a byte, or by a stretch of a string that does not matter. Returns the next position.
    fn step(&mut self, bytes: &[u8], pos: usize) -> usize {
        let byte = bytes[pos];
        match &mut self.text {
            Text::None => self.outside(byte),
            Text::Plain { escaped } | Text::Value { escaped } | Text::Key { escaped, .. } if *escaped => *escaped = false,
            Text::Plain { escaped } | Text::Value { escaped } | Text::Key { escaped, .. } if byte == b'\\' => *escaped = true,
            Text::Key { name, length, .. } if byte == b'"' => {
                self.member = member(&name[..(*length).min(MAX_KEY)], *length);
                self.text = Text::None;
            }
            Text::Plain { .. } | Text::Value { .. } if byte == b'"' => self.text = Text::None,
            Text::Key { name, length, .. } => {
                if let Some(place) = name.get_mut(*length) {
                    *place = byte;
                }
                *length += 1;
            }
            Text::Plain { .. } => {
                let rest = &bytes[pos..];
                return pos + memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            }
            Text::Value { .. } => {}
        }
        pos + 1
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                let counts = self.counts();
                self.text = match self.member {
                    _ if counts && self.at_key => Text::Key { escaped: false, name: [0; MAX_KEY], length: 0 },
                    Member::Model if counts => Text::Value { escaped: false },
                    _ => Text::Plain { escaped: false },
                };
            }
            b'{' | b'[' => {
                let is_nested = self.depth == 0 || (self.depth == 1 && self.counts[0] && self.member == Member::Nested);
                self.depth = self.depth.saturating_add(1);
                if let Some(counts) = (self.depth as usize).checked_sub(1).and_then(|place| self.counts.get_mut(place)) {
                    *counts = is_nested && byte == b'{';
                }
                (self.at_key, self.member) = (true, Member::Other);
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                (self.at_key, self.member) = (false, Member::Other);
            }
            b',' => (self.at_key, self.member) = (true, Member::Other),
            b':' => self.at_key = false,
            _ => {}
        }
    }

    /// Whether members of the innermost container count.
    fn counts(&self) -> bool {
        (self.depth as usize).checked_sub(1).and_then(|place| self.counts.get(place)) == Some(&true)
    }
}

fn member(name: &[u8], length: usize) -> Member {
    match name {
        _ if length > MAX_KEY => Member::Other,
        b"model" => Member::Model,
        b"response" | b"message" => Member::Nested,
        _ => Member::Other,
    }
}

#[cfg(test)]
mod tests;
