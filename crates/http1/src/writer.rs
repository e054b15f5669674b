//! A message on its way out (RFC 9112, 6 and 7): the head as it was put together, then the body's frames, in as few writes as can be.

use std::io::IoSlice;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, header};
use http_body::Frame;

use super::Malformed;

/// A piece of a body up to this length is copied behind what comes before it, so that both are one write of one slice.
const COPIED: usize = 4 << 10;
/// No more is put together for one write.
const JOINED: usize = 16 << 10;

/// A message that is being sent.
pub struct Writer {
    /// To be written: head, chunk sizes, short pieces ...
    out: BytesMut,
    /// ... then a long piece of the body, and what ends its chunk.
    piece: Bytes,
    tail: &'static [u8],
    end: End,
    has_ended: bool,
}

/// How the body's end is told.
pub enum End {
    /// After so many more bytes.
    Length(u64),
    /// In chunks, with the trailers that were announced.
    Chunked(Vec<HeaderName>),
    /// With the connection.
    Close,
}

impl Writer {
    /// A message of which the head is put together, with the empty line at its end.
    pub fn new(head: BytesMut, end: End) -> Self {
        let has_ended = matches!(end, End::Length(0));
        Self { out: head, piece: Bytes::new(), tail: b"", end, has_ended }
    }

    /// Whether more of the body can be taken before the next write.
    pub fn has_room(&self) -> bool {
        !self.has_ended && self.piece.is_empty() && self.tail.is_empty() && self.out.len() < JOINED
    }

    /// Whether the whole message was handed over.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether all that was handed over is written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Bytes to write next: one slice if nothing follows it.
    pub fn slices(&self) -> ([IoSlice<'_>; 3], usize) {
        let slices = [IoSlice::new(&self.out), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
        (slices, if self.piece.is_empty() && self.tail.is_empty() { 1 } else { 3 })
    }

    /// So much of that was written.
    pub fn written(&mut self, mut count: usize) {
        let of_out = count.min(self.out.len());
        self.out.advance(of_out);
        count -= of_out;
        let of_piece = count.min(self.piece.len());
        self.piece.advance(of_piece);
        self.tail = &self.tail[count - of_piece..];
    }

    /// Adds a part of the body.
    ///
    /// # Errors
    /// The body is longer, or with trailers shorter, than the head said.
    pub fn push(&mut self, frame: Frame<Bytes>) -> Result<(), Malformed> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(&frame.into_trailers().unwrap_or_default()),
        };
        if data.is_empty() {
            return Ok(());
        }
        let mut tail: &[u8] = b"";
        match &mut self.end {
            End::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Malformed::Message("the body is longer than its head said"))?;
                self.has_ended = *left == 0;
            }
            End::Chunked(_) => {
                chunk_size(&mut self.out, data.len());
                tail = b"\r\n";
            }
            End::Close => {}
        }
        if data.len() <= COPIED {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(tail);
        } else {
            (self.piece, self.tail) = (data, tail);
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// It is shorter than the head said.
    pub fn end(&mut self, trailers: &HeaderMap) -> Result<(), Malformed> {
        match &self.end {
            End::Length(0) | End::Close => {}
            End::Length(_) => return Err(Malformed::Message("the body is shorter than its head said")),
            End::Chunked(announced) => {
                self.out.extend_from_slice(b"0\r\n");
                for name in announced {
                    for value in trailers.get_all(name) {
                        field(&mut self.out, name.as_str(), value.as_bytes());
                    }
                }
                self.out.extend_from_slice(b"\r\n");
            }
        }
        self.has_ended = true;
        Ok(())
    }
}

/// Adds the line that a chunk of this many bytes begins with; there is one for every event of a stream.
fn chunk_size(out: &mut BytesMut, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut line = *b"0000000000000000\r\n";
    let (mut first, mut left) = (16, size);
    while left > 0 {
        first -= 1;
        line[first] = DIGITS[left & 0xf];
        left >>= 4;
    }
    out.extend_from_slice(&line[first..]);
}

/// Room for a head beside its fields and the names of its first line: the version, a reason, and the fields that the writer adds.
const FIRST_LINE: usize = 160;

/// Room for a head with these fields, whose first line takes `line` bytes more than most, and for the body behind it if that is short.
pub fn room_for(line: usize, fields: &HeaderMap, body: Option<u64>) -> BytesMut {
    let fields: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let body = body.and_then(|length| usize::try_from(length).ok()).filter(|length| *length <= COPIED);
    BytesMut::with_capacity(FIRST_LINE + line + fields + body.unwrap_or(0))
}

/// Adds a field to a head.
pub fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// The trailers that `Trailer` names, but for those that a recipient must not take from there (RFC 9110, 6.5.1).
pub fn trailers_announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::TRAILER).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    names.filter(may_be_trailer).collect()
}

/// Whether a field may come behind the body: not what frames the message, routes it, or says what the body is.
pub(crate) fn may_be_trailer(name: &HeaderName) -> bool {
    ![
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::HOST,
        header::MAX_FORWARDS,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_chunks_size_is_in_hexadecimal_digits(size in (0..64u32, any::<usize>()).prop_map(|(shift, size)| (size >> shift).max(1))) {
            let mut out = BytesMut::from("before");
            chunk_size(&mut out, size);
            prop_assert_eq!(out, format!("before{size:x}\r\n"));
        }
    }
}
