//! A strict JSON lexer over a whole body: it accepts what `serde_json` accepts as a `Value`, and nothing else.
//!
//! Nothing is recursive: containers being skipped are a bit each in one `u128`. Bytes are looked at once: that they are UTF-8 is
//! seen by what looks for a string's end, and asked for only of strings that are not ASCII.

use std::borrow::Cow;
use std::ops::Range;

use crate::scan::ScanError;

/// Containers that may be open at once, the outermost included: `serde_json` refuses the 128th.
const MAX_DEPTH: u32 = 127;

/// A position in a body, and the containers open there. What was consumed is UTF-8.
pub(crate) struct Lexer<'a> {
    bytes: &'a [u8],
    pos: usize,
    depth: u32,
    /// One bit per open container, the innermost lowest: set for an object.
    objects: u128,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0, depth: 0, objects: 0 }
    }

    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    /// The next byte that is not white space, not consumed.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.pos) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.pos += 1;
        }
        None
    }

    /// Reads an object, the next byte being its `{`. For each member `member` is given the name and must consume the value.
    pub(crate) fn members(&mut self, mut member: impl FnMut(&mut Self, &str) -> Result<(), ScanError>) -> Result<(), ScanError> {
        self.open(true)?;
        if self.peek() == Some(b'}') {
            self.close();
            return Ok(());
        }
        loop {
            let name = self.key()?;
            member(self, &self.text(&name)?)?;
            match self.peek() {
                Some(b',') => self.pos += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected()),
            }
        }
        self.close();
        Ok(())
    }

    /// Consumes one value of any kind and returns its span.
    pub(crate) fn skip_value(&mut self) -> Result<Range<usize>, ScanError> {
        let base = self.depth;
        self.peek();
        let start = self.pos;
        loop {
            let entered = match self.peek() {
                Some(b'{') => {
                    self.open(true)?;
                    self.peek() != Some(b'}')
                }
                Some(b'[') => {
                    self.open(false)?;
                    self.peek() != Some(b']')
                }
                Some(b'"') => self.string().map(|_| false)?,
                Some(b'-' | b'0'..=b'9') => self.number().map(|_| false)?,
                _ => self.literal().map(|_| false)?,
            };
            if entered {
                if self.in_object() {
                    self.key()?;
                }
                continue;
            }
            if self.leave(base)? {
                return Ok(start..self.pos);
            }
        }
    }

    /// After a value: closes what closes here. True when the container at depth `base` is reached, false when another
    /// value must follow.
    fn leave(&mut self, base: u32) -> Result<bool, ScanError> {
        while self.depth > base {
            match (self.peek(), self.in_object()) {
                (Some(b','), true) => {
                    self.pos += 1;
                    self.key()?;
                    return Ok(false);
                }
                (Some(b','), false) => {
                    self.pos += 1;
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => self.close(),
                _ => return Err(self.unexpected()),
            }
        }
        Ok(true)
    }

    /// Consumes a string, the next byte being its opening quote, and returns the span between the quotes.
    pub(crate) fn string(&mut self) -> Result<Range<usize>, ScanError> {
        let bytes = self.bytes;
        self.pos += 1;
        let start = self.pos;
        let mut is_ascii = true;
        loop {
            self.pos = if is_ascii { plain_ascii_until(bytes, self.pos) } else { plain_until(bytes, self.pos) };
            match bytes.get(self.pos) {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0x80..) => is_ascii = false,
                _ => return Err(self.unexpected()),
            }
        }
        let span = start..self.pos;
        if !is_ascii && simdutf8::basic::from_utf8(&bytes[span.clone()]).is_err() {
            return Err(ScanError::Syntax { at: start });
        }
        self.pos += 1;
        Ok(span)
    }

    /// Consumes a number and returns its span. One that overflows a double is refused, as by `serde_json`.
    pub(crate) fn number(&mut self) -> Result<Range<usize>, ScanError> {
        let start = self.pos;
        self.eat(b'-');
        match self.at(0) {
            Some(b'0') => self.pos += 1,
            _ => self.digits()?,
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        let scaled = self.eat(b'e') || self.eat(b'E');
        if scaled {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let span = start..self.pos;
        // Fewer than 309 digits without an exponent cannot overflow; only the rest pays for a conversion.
        if (scaled || span.len() >= 309) && self.text(&span)?.parse::<f64>().is_ok_and(f64::is_infinite) {
            return Err(ScanError::Syntax { at: start });
        }
        Ok(span)
    }

    /// Consumes `true`, `false` or `null`.
    pub(crate) fn literal(&mut self) -> Result<Option<bool>, ScanError> {
        let rest = &self.bytes[self.pos..];
        let (value, len) = if rest.starts_with(b"true") {
            (Some(true), 4)
        } else if rest.starts_with(b"false") {
            (Some(false), 5)
        } else if rest.starts_with(b"null") {
            (None, 4)
        } else {
            return Err(self.unexpected());
        };
        self.pos += len;
        Ok(value)
    }

    /// The text of a string or number consumed before, with its escapes resolved.
    pub(crate) fn text(&self, span: &Range<usize>) -> Result<Cow<'a, str>, ScanError> {
        let raw = std::str::from_utf8(&self.bytes[span.clone()]).ok();
        raw.and_then(unescape).ok_or(ScanError::Syntax { at: span.start })
    }

    /// The error for whatever stands here.
    pub(crate) fn unexpected(&self) -> ScanError {
        ScanError::Syntax { at: self.pos }
    }

    fn key(&mut self) -> Result<Range<usize>, ScanError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let name = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.pos += 1;
        Ok(name)
    }

    fn open(&mut self, object: bool) -> Result<(), ScanError> {
        if self.depth == MAX_DEPTH {
            return Err(ScanError::TooDeep { at: self.pos });
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        self.pos += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
        self.pos += 1;
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Consumes an escape sequence. A surrogate must be half of a pair.
    fn escape(&mut self) -> Result<(), ScanError> {
        let unpaired = ScanError::Syntax { at: self.pos };
        match self.at(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 2,
            Some(b'u') => match self.hex()? {
                0xD800..=0xDBFF => {
                    let low = self.at(0) == Some(b'\\') && self.at(1) == Some(b'u');
                    if !low || !matches!(self.hex()?, 0xDC00..=0xDFFF) {
                        return Err(unpaired);
                    }
                }
                0xDC00..=0xDFFF => return Err(unpaired),
                _ => {}
            },
            _ => return Err(unpaired),
        }
        Ok(())
    }

    /// Consumes `\uXXXX`, the first two bytes of which have been seen.
    fn hex(&mut self) -> Result<u16, ScanError> {
        let digits = self.bytes.get(self.pos + 2..self.pos + 6);
        let unit = digits.and_then(hex4).ok_or_else(|| self.unexpected())?;
        self.pos += 6;
        Ok(unit)
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let bytes = &self.bytes[self.pos..];
        let len = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
        if len == 0 {
            return Err(self.unexpected());
        }
        self.pos += len;
        Ok(())
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.at(0) == Some(byte);
        self.pos += usize::from(found);
        found
    }

    fn at(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.pos + ahead).copied()
    }
}

/// The first position from `pos` on that holds a quote, a backslash, a control character or what is not ASCII, or the end.
fn plain_ascii_until(bytes: &[u8], mut pos: usize) -> usize {
    // Names and short values end within the first words; only what is longer is worth a wide block.
    for _ in 0..4 {
        let Some(word) = bytes.get(pos..).and_then(|rest| rest.first_chunk()) else { break };
        match special_in(u64::from_le_bytes(*word)) {
            0 => pos += 8,
            hits => return pos + (hits.trailing_zeros() / 8) as usize,
        }
    }
    until(bytes, pos, is_special_or_not_ascii)
}

/// The first position from `pos` on that holds a quote, a backslash or a control character, or the end.
fn plain_until(bytes: &[u8], pos: usize) -> usize {
    until(bytes, pos, is_special)
}

/// A fold without a branch per byte is what the compiler turns into vector compares.
#[inline(always)]
fn until(bytes: &[u8], mut pos: usize, is_hit: impl Fn(u8) -> bool + Copy) -> usize {
    while let Some(block) = bytes.get(pos..).and_then(|rest| rest.first_chunk::<64>()) {
        if block.iter().fold(false, |hit, &byte| hit | is_hit(byte)) {
            break;
        }
        pos += 64;
    }
    let rest = &bytes[pos..];
    pos + rest.iter().position(|&byte| is_hit(byte)).unwrap_or(rest.len())
}

/// The high bit of each byte of `word` that is a quote, a backslash, below 0x20 or not ASCII. Bits above the lowest set one may be
/// false: subtraction carries upwards.
fn special_in(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zero_in = |x: u64| x.wrapping_sub(ONES) & !x;
    let quote = zero_in(word ^ (ONES * b'"' as u64));
    let backslash = zero_in(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20);
    (quote | backslash | control | word) & HIGHS
}

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// As a signed number what is not ASCII is below the control characters; and in pairs exchanged, a quote is next to them, so that one
/// comparison finds all three.
fn is_special_or_not_ascii(byte: u8) -> bool {
    (byte ^ 2).cast_signed() <= 0x20 || byte == b'\\'
}

/// Resolves the escapes of a JSON string's content. `None` where an escape is malformed or a surrogate stands alone.
pub(crate) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let Some(first) = memchr::memchr(b'\\', raw.as_bytes()) else {
        return Some(Cow::Borrowed(raw));
    };
    let mut out = String::with_capacity(raw.len());
    out.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (char, len) = escaped_char(&rest.as_bytes()[at..])?;
        out.push(char);
        rest = rest.get(at + len..)?;
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// The character an escape sequence stands for, and the sequence's length in bytes.
fn escaped_char(escape: &[u8]) -> Option<(char, usize)> {
    let simple = |char| Some((char, 2));
    match escape.get(1)? {
        b'"' => simple('"'),
        b'\\' => simple('\\'),
        b'/' => simple('/'),
        b'b' => simple('\u{8}'),
        b'f' => simple('\u{c}'),
        b'n' => simple('\n'),
        b'r' => simple('\r'),
        b't' => simple('\t'),
        b'u' => {
            let high = hex4(escape.get(2..6)?)?;
            let low = escape.get(6..12).filter(|low| low.starts_with(b"\\u"));
            let units = [high, low.and_then(|low| hex4(&low[2..])).unwrap_or(0)];
            let char = char::decode_utf16(units).next()?.ok()?;
            Some((char, 6 * char.len_utf16()))
        }
        _ => None,
    }
}

fn hex4(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))
}

/// Appends `text` to `out` as a JSON string, quotes included.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0..0x20 => {
                out.extend(b"\\u00");
                out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
