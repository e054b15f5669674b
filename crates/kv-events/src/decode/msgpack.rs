//! Reader of MessagePack that borrows, allocates nothing and does not recurse. `None` is the end of input within a value, or a value of
//! another kind.

/// Kind of a value, as far as events differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nil,
    Int,
    Text,
    Bytes,
    Array,
    Map,
    Other,
}

/// Bytes of values that follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Kind of the next value.
    pub(super) fn peek(&self) -> Option<Kind> {
        Some(match self.rest.first()? {
            0xc0 => Kind::Nil,
            0x00..=0x7f | 0xe0..=0xff | 0xcc..=0xd3 => Kind::Int,
            0xa0..=0xbf | 0xd9..=0xdb => Kind::Text,
            0xc4..=0xc6 => Kind::Bytes,
            0x90..=0x9f | 0xdc | 0xdd => Kind::Array,
            0x80..=0x8f | 0xde | 0xdf => Kind::Map,
            _ => Kind::Other,
        })
    }

    /// Number of an array's elements, which follow.
    pub(super) fn array(&mut self) -> Option<u32> {
        match self.byte()? {
            marker @ 0x90..=0x9f => Some(u32::from(marker & 0x0f)),
            0xdc => self.number(2),
            0xdd => self.number(4),
            _ => None,
        }
    }

    /// Number of a map's entries, which follow.
    pub(super) fn map(&mut self) -> Option<u32> {
        match self.byte()? {
            marker @ 0x80..=0x8f => Some(u32::from(marker & 0x0f)),
            0xde => self.number(2),
            0xdf => self.number(4),
            _ => None,
        }
    }

    /// A number, as a float.
    pub(super) fn float(&mut self) -> Option<f64> {
        match self.rest.first()? {
            0xca => {
                self.byte()?;
                self.fixed().map(|bytes| f32::from_be_bytes(bytes).into())
            }
            0xcb => {
                self.byte()?;
                self.fixed().map(f64::from_be_bytes)
            }
            _ => self.int().map(|number| number as i64 as f64),
        }
    }

    /// An integer of at most 64 bits; a negative one as its two's complement.
    #[inline]
    pub(super) fn int(&mut self) -> Option<u64> {
        let marker = self.byte()?;
        Some(match marker {
            0x00..=0x7f => u64::from(marker),
            0xe0..=0xff => marker as i8 as u64,
            0xcc => u64::from(self.byte()?),
            0xcd => u64::from(u16::from_be_bytes(self.fixed()?)),
            0xce => u64::from(u32::from_be_bytes(self.fixed()?)),
            0xcf | 0xd3 => u64::from_be_bytes(self.fixed()?),
            0xd0 => self.byte()? as i8 as u64,
            0xd1 => i16::from_be_bytes(self.fixed()?) as u64,
            0xd2 => i32::from_be_bytes(self.fixed()?) as u64,
            _ => return None,
        })
    }

    /// A text's or byte string's content.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            marker @ 0xa0..=0xbf => u32::from(marker & 0x1f),
            0xc4 | 0xd9 => self.number(1)?,
            0xc5 | 0xda => self.number(2)?,
            0xc6 | 0xdb => self.number(4)?,
            _ => return None,
        };
        self.take(length as usize)
    }

    /// A map's key as text; one of another kind is passed over and empty.
    pub(super) fn key(&mut self) -> Option<&'a [u8]> {
        match self.peek()? {
            Kind::Text => self.bytes(),
            _ => self.skip().map(|()| &[][..]),
        }
    }

    /// Passes over one value.
    pub(super) fn skip(&mut self) -> Option<()> {
        let mut pending = 1_u64;
        while pending > 0 {
            pending -= 1;
            let content = match self.byte()? {
                0x00..=0x7f | 0xe0..=0xff | 0xc0..=0xc3 => 0,
                0xcc | 0xd0 => 1,
                0xcd | 0xd1 => 2,
                0xce | 0xd2 | 0xca => 4,
                0xcf | 0xd3 | 0xcb => 8,
                marker @ 0xa0..=0xbf => usize::from(marker & 0x1f),
                0xc4 | 0xd9 => self.number(1)? as usize,
                0xc5 | 0xda => self.number(2)? as usize,
                0xc6 | 0xdb => self.number(4)? as usize,
                marker @ 0xd4..=0xd8 => 1 + (1 << (marker - 0xd4)),
                0xc7 => 1 + self.number(1)? as usize,
                0xc8 => 1 + self.number(2)? as usize,
                0xc9 => 1 + self.number(4)? as usize,
                marker => {
                    pending = pending.saturating_add(self.children(marker)?);
                    0
                }
            };
            self.take(content)?;
        }
        Some(())
    }

    /// The bytes of one value, passed over.
    pub(super) fn value(&mut self) -> Option<&'a [u8]> {
        let before = self.rest;
        self.skip()?;
        before.get(..before.len() - self.rest.len())
    }

    /// Values in the array or map that this byte begins.
    fn children(&mut self, marker: u8) -> Option<u64> {
        Some(match marker {
            0x90..=0x9f => u64::from(marker & 0x0f),
            0x80..=0x8f => 2 * u64::from(marker & 0x0f),
            0xdc => u64::from(self.number(2)?),
            0xdd => u64::from(self.number(4)?),
            0xde => 2 * u64::from(self.number(2)?),
            0xdf => 2 * u64::from(self.number(4)?),
            _ => return None,
        })
    }

    fn number(&mut self, bytes: usize) -> Option<u32> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(first)
    }
}
