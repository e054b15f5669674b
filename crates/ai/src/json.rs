//! The tokens of JSON, read strictly: exactly those that `serde_json` accepts as a `Value`.
//!
//! The reader passes over bytes once: its search for a string's end also notices bytes that are not ASCII, and only strings
//! with such bytes need a check of UTF-8.

use std::borrow::Cow;
use std::ops::Range;

use crate::scan::ScanError;

/// The longest escape sequence: a pair of surrogates.
pub(crate) const LONGEST_ESCAPE: usize = 12;

/// The first position from `pos` on of a quote, a backslash or a control character, or of a byte that is not ASCII if the
/// caller asks for it, or the end.
#[inline]
pub(crate) fn plain_until(bytes: &[u8], pos: usize, is_ascii: bool) -> usize {
    if is_ascii { plain_ascii_until(bytes, pos) } else { until(bytes, pos, is_special) }
}

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

/// End of an escape sequence. A surrogate must be half of a pair.
pub(crate) fn escape(bytes: &[u8], pos: usize) -> Result<usize, ScanError> {
    let unpaired = ScanError::HalfSurrogate { at: pos };
    match bytes.get(pos + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(pos + 2),
        Some(b'u') => match hex(bytes, pos)? {
            0xD800..=0xDBFF => {
                let is_low = bytes.get(pos + 6..).is_some_and(|rest| rest.starts_with(b"\\u"));
                if !is_low || !matches!(hex(bytes, pos + 6)?, 0xDC00..=0xDFFF) {
                    return Err(unpaired);
                }
                Ok(pos + LONGEST_ESCAPE)
            }
            0xDC00..=0xDFFF => Err(unpaired),
            _ => Ok(pos + 6),
        },
        _ => Err(ScanError::Syntax { at: pos }),
    }
}

/// The digits of `\uXXXX`, the first two bytes of which have been seen.
fn hex(bytes: &[u8], pos: usize) -> Result<u16, ScanError> {
    bytes.get(pos + 2..pos + 6).and_then(hex4).ok_or(ScanError::Syntax { at: pos })
}

/// Whether what these bytes begin with may be a number or a word that goes on behind them.
pub(crate) fn may_go_on(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// End of a number. As `serde_json` does, it refuses one that overflows a double.
pub(crate) fn number(bytes: &[u8], start: usize) -> Result<usize, ScanError> {
    let is = |pos: usize, byte: u8| bytes.get(pos) == Some(&byte);
    let mut pos = start + usize::from(is(start, b'-'));
    pos = if is(pos, b'0') { pos + 1 } else { digits(bytes, pos)? };
    if is(pos, b'.') {
        pos = digits(bytes, pos + 1)?;
    }
    let scaled = is(pos, b'e') || is(pos, b'E');
    if scaled {
        pos += 1;
        pos = digits(bytes, pos + usize::from(is(pos, b'+') || is(pos, b'-')))?;
    }
    // Fewer than 309 digits without an exponent cannot overflow; only the rest pays for a conversion.
    if (scaled || pos - start >= 309) && text(bytes, &(start..pos))?.parse::<f64>().is_ok_and(f64::is_infinite) {
        return Err(ScanError::Syntax { at: start });
    }
    Ok(pos)
}

fn digits(bytes: &[u8], pos: usize) -> Result<usize, ScanError> {
    let count = bytes[pos..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { Err(ScanError::Syntax { at: pos }) } else { Ok(pos + count) }
}

/// End of `true`, `false` or `null`.
pub(crate) fn literal(bytes: &[u8], pos: usize) -> Result<usize, ScanError> {
    let words: [&[u8]; 3] = [b"true", b"false", b"null"];
    let word = words.into_iter().find(|word| bytes[pos..].starts_with(word));
    word.map(|word| pos + word.len()).ok_or(ScanError::Syntax { at: pos })
}

/// The text of a string's inside or of a number that has been read, with its escapes resolved.
pub(crate) fn text<'a>(bytes: &'a [u8], span: &Range<usize>) -> Result<Cow<'a, str>, ScanError> {
    let raw = std::str::from_utf8(&bytes[span.clone()]).ok();
    raw.and_then(unescape).ok_or(ScanError::Syntax { at: span.start })
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
