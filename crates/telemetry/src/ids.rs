//! Identities of traces and spans.

use std::fmt;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Identity of a trace; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Identity of a span; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// An identity of random bits.
    pub fn from_random(bits: u128) -> Self {
        Self(bits.max(1).to_be_bytes())
    }

    /// An identity of 32 hexadecimal digits; `None` for anything else, and for zero.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        Some(Self(from_hex(text)?)).filter(|id| id.0 != [0; 16])
    }

    /// An identity of 16 digits, as some tracers make them, with zeros before it, or of 32.
    pub fn from_short_hex(text: &[u8]) -> Option<Self> {
        let Some(low) = from_hex::<8>(text) else { return Self::from_hex(text) };
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&low);
        Some(Self(bytes)).filter(|id| id.0 != [0; 16])
    }

    /// The bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The 32 digits in lower case.
    pub fn to_hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        write_hex(&self.0, &mut text);
        text
    }

    /// The part of which SDKs decide by ratio: the last 63 bits but one, which all take to be random.
    pub(crate) fn ratio_point(self) -> u64 {
        let mut low = [0; 8];
        low.copy_from_slice(&self.0[8..]);
        u64::from_be_bytes(low) >> 1
    }
}

impl SpanId {
    /// An identity of random bits.
    pub fn from_random(bits: u64) -> Self {
        Self(bits.max(1).to_be_bytes())
    }

    /// An identity of 16 hexadecimal digits; `None` for anything else, and for zero.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        Some(Self(from_hex(text)?)).filter(|id| id.0 != [0; 8])
    }

    /// The bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// The 16 digits in lower case.
    pub fn to_hex(self) -> [u8; 16] {
        let mut text = [0; 16];
        write_hex(&self.0, &mut text);
        text
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Bytes of exactly twice as many digits.
pub(crate) fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(bytes)
}

/// Writes the digits of `bytes` into twice as much room.
pub(crate) fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        digits[0] = HEX[usize::from(byte >> 4)];
        digits[1] = HEX[usize::from(byte & 0xf)];
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
