//! A strict, incremental reader of a JSON document: it reads to the end of the bytes at hand, and on from there when more come.
//!
//! Nothing is recursive: open containers are a bit each in one `u128`. A [`Members`] receives each member of the outermost
//! object when its value is whole.

use std::ops::Range;

use crate::{json, scan::ScanError};

/// Containers that may be open at once, the outermost included: `serde_json` refuses the 128th.
const MAX_DEPTH: u32 = 127;

/// Position in a document, and the tokens that may come next. Offsets count from the document's beginning; callers pass those
/// bytes at each call, and may move them between calls.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pos: usize,
    depth: u32,
    /// One bit per open container, the innermost lowest: set for an object.
    objects: u128,
    next: Next,
    /// The outermost object's member under way.
    name: Range<usize>,
    value: usize,
    /// A token that was cut off is not looked at again before there is so much: it may be long.
    wanted: usize,
}

/// Tokens that may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    /// The outermost object.
    #[default]
    Object,
    KeyOrEnd,
    Key,
    Colon,
    Value,
    ValueOrEnd,
    /// State after a value.
    Comma,
    /// The rest of a string: a key, or a value.
    String(Text),
    Nothing,
}

/// A string under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Text {
    is_key: bool,
    /// Past the quote.
    start: usize,
    is_ascii: bool,
}

/// Receiver of the outermost object's members.
pub(crate) trait Members {
    /// A member is all there: its name as it is written, without quotes, and its value.
    ///
    /// # Errors
    /// The document is refused.
    fn member(&mut self, bytes: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError>;
}

impl Document {
    /// Reads on in a document, of which the beginning is there or all: it must then end there.
    ///
    /// # Errors
    /// It is not JSON, or no object.
    pub(crate) fn read(&mut self, bytes: &[u8], is_whole: bool, members: &mut impl Members) -> Result<(), ScanError> {
        if !is_whole && bytes.len() < self.wanted.max(self.pos) {
            return Ok(());
        }
        if let Next::String(text) = self.next
            && !self.string(bytes, is_whole, text, members)?
        {
            return Ok(());
        }
        loop {
            let Some(byte) = self.peek(bytes) else { return if is_whole { self.ended() } else { Ok(()) } };
            match (self.next, byte) {
                (Next::Object | Next::Value | Next::ValueOrEnd, b'{') => self.open(true)?,
                (Next::Object, _) => return Err(ScanError::NotObject),
                (Next::Value | Next::ValueOrEnd, b'[') => self.open(false)?,
                (Next::KeyOrEnd, b'}') | (Next::ValueOrEnd, b']') => self.close(bytes, members)?,
                (Next::Key | Next::KeyOrEnd | Next::Value | Next::ValueOrEnd, b'"') => {
                    self.pos += 1;
                    let is_key = matches!(self.next, Next::Key | Next::KeyOrEnd);
                    if !self.string(bytes, is_whole, Text { is_key, start: self.pos, is_ascii: true }, members)? {
                        return Ok(());
                    }
                }
                (Next::Value | Next::ValueOrEnd, _) => {
                    if !self.token(bytes, is_whole, byte)? {
                        return Ok(());
                    }
                    self.end_value(bytes, members)?;
                }
                (Next::Colon, b':') => self.step(Next::Value),
                (Next::Comma, b',') => self.step(self.after_comma()),
                (Next::Comma, b'}') if self.in_object() => self.close(bytes, members)?,
                (Next::Comma, b']') if !self.in_object() => self.close(bytes, members)?,
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// The document ends here.
    fn ended(&self) -> Result<(), ScanError> {
        match self.next {
            Next::Nothing => Ok(()),
            Next::Object => Err(ScanError::Empty),
            _ => Err(self.unexpected()),
        }
    }

    /// The next byte that is not white space, not consumed.
    fn peek(&mut self, bytes: &[u8]) -> Option<u8> {
        while let Some(&byte) = bytes.get(self.pos) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                if self.depth == 1 && self.next == Next::Value {
                    self.value = self.pos;
                }
                return Some(byte);
            }
            self.pos += 1;
        }
        None
    }

    fn step(&mut self, next: Next) {
        self.pos += 1;
        self.next = next;
    }

    fn open(&mut self, object: bool) -> Result<(), ScanError> {
        if self.depth == MAX_DEPTH {
            return Err(ScanError::TooDeep { at: self.pos });
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        self.step(if object { Next::KeyOrEnd } else { Next::ValueOrEnd });
        Ok(())
    }

    fn close(&mut self, bytes: &[u8], members: &mut impl Members) -> Result<(), ScanError> {
        self.depth -= 1;
        self.objects >>= 1;
        self.pos += 1;
        self.end_value(bytes, members)
    }

    fn after_comma(&self) -> Next {
        if self.in_object() { Next::Key } else { Next::Value }
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Reads on in a string, to its quote; whether it is all there.
    #[inline]
    fn string(&mut self, bytes: &[u8], is_whole: bool, mut text: Text, members: &mut impl Members) -> Result<bool, ScanError> {
        let mut pos = self.pos;
        loop {
            pos = json::plain_until(bytes, pos, text.is_ascii);
            match bytes.get(pos) {
                Some(b'"') => break,
                Some(b'\\') if is_whole || bytes.len() - pos >= json::LONGEST_ESCAPE => pos = json::escape(bytes, pos)?,
                Some(0x80..) => text.is_ascii = false,
                None | Some(b'\\') if !is_whole => {
                    (self.pos, self.next) = (pos, Next::String(text));
                    return Ok(false);
                }
                _ => return Err(ScanError::Syntax { at: pos }),
            }
        }
        if !text.is_ascii && simdutf8::basic::from_utf8(&bytes[text.start..pos]).is_err() {
            return Err(ScanError::Syntax { at: text.start });
        }
        self.pos = pos + 1;
        if !text.is_key {
            return self.end_value(bytes, members).map(|()| true);
        }
        if self.depth == 1 {
            self.name = text.start..pos;
        }
        self.next = Next::Colon;
        self.step_over(bytes, b':', Next::Value);
        Ok(true)
    }

    /// Reads a number, `true`, `false` or `null`; whether it is all there.
    fn token(&mut self, bytes: &[u8], is_whole: bool, first: u8) -> Result<bool, ScanError> {
        if !is_whole && json::may_go_on(&bytes[self.pos..]) {
            self.wanted = 2 * bytes.len() - self.pos;
            return Ok(false);
        }
        self.pos = match first {
            b'-' | b'0'..=b'9' => json::number(bytes, self.pos)?,
            _ => json::literal(bytes, self.pos)?,
        };
        Ok(true)
    }

    fn end_value(&mut self, bytes: &[u8], members: &mut impl Members) -> Result<(), ScanError> {
        self.next = if self.depth == 0 { Next::Nothing } else { Next::Comma };
        if self.depth == 1 {
            members.member(bytes, self.name.clone(), self.value..self.pos)?;
        }
        if self.depth > 0 {
            self.step_over(bytes, b',', self.after_comma());
        }
        Ok(())
    }

    /// The usual next byte, without a space before it.
    #[inline]
    fn step_over(&mut self, bytes: &[u8], byte: u8, next: Next) {
        if bytes.get(self.pos) == Some(&byte) {
            self.step(next);
        }
    }

    fn unexpected(&self) -> ScanError {
        ScanError::Syntax { at: self.pos }
    }
}
