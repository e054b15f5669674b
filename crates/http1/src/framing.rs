//! A body as it comes (RFC 9112, 6 and 7).

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::{MAX_FIELDS, Malformed, writer::may_be_trailer};

/// Bound on a chunk's size with its extensions, in bytes.
const MAX_SIZE_LINE: usize = 4 << 10;
/// Bound on trailers, in bytes.
const MAX_TRAILERS: usize = 16 << 10;

/// A chunk up to this length is copied out of what was read, in bytes.
const COPIED: u64 = 1 << 10;

/// How a body ends, and how far it has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// With an empty chunk, and the trailers behind it.
    Chunked(Chunked),
    /// With the connection.
    UntilClose,
    /// There is none: the connection is no longer HTTP.
    Switched,
}

/// How far a body in chunks has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunked(State);

#[derive(Debug, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Over,
}

impl Framing {
    /// A body in chunks, before the first of them.
    pub const fn chunked() -> Self {
        Self::Chunked(Chunked(State::Size))
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked(State::Over)) | Self::Switched)
    }

    /// Bytes to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Switched | Self::Chunked(Chunked(State::Over)) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes the next part off what was read; `None` where more has to come, or the body is over.
    ///
    /// # Errors
    /// A chunk's size or end, or the trailers, are malformed or longer than their bounds.
    pub fn take(&mut self, read: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Malformed> {
        match self {
            Self::Chunked(Chunked(state)) => state.take(read),
            Self::Switched => Ok(None),
            Self::Length(left) => Ok(data(left, read).map(Frame::data)),
            Self::UntilClose => Ok((!read.is_empty()).then(|| Frame::data(read.split().freeze()))),
        }
    }
}

impl State {
    fn take(&mut self, read: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Malformed> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = line(read, MAX_SIZE_LINE)? else { return Ok(None) };
                    let (size, length) = (chunk_size(line)?, line.len());
                    read.advance(length + 2);
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(left) => return Ok(chunk(left, read).map(Frame::data)),
                Self::DataEnd => {
                    if read.len() < 2 {
                        return Ok(None);
                    }
                    if !read.starts_with(b"\r\n") {
                        return Err(Malformed::Message("a chunk is longer than it said"));
                    }
                    read.advance(2);
                    *self = Self::Size;
                }
                Self::Trailers => {
                    let Some(trailers) = trailers(read)? else { return Ok(None) };
                    *self = Self::Over;
                    return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                }
                Self::Over => return Ok(None),
            }
        }
    }
}

/// The part of so many bytes that has arrived.
fn data(left: &mut u64, read: &mut BytesMut) -> Option<Bytes> {
    let count = count(left, read);
    (count > 0).then(|| read.split_to(count).freeze())
}

/// The same of a chunk. A short one is copied: that costs less than to have what it was read to shared.
fn chunk(left: &mut u64, read: &mut BytesMut) -> Option<Bytes> {
    if *left > COPIED {
        return data(left, read);
    }
    let count = count(left, read);
    let copy = (count > 0).then(|| Bytes::copy_from_slice(&read[..count]));
    read.advance(count);
    copy
}

/// Counts off what there is.
fn count(left: &mut u64, read: &BytesMut) -> usize {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
    *left -= count as u64;
    count
}

/// The line at the beginning, without its end of two bytes.
fn line(read: &[u8], most: usize) -> Result<Option<&[u8]>, Malformed> {
    // Mostly so behind an event of a stream: there is nothing to be sought.
    if read.is_empty() {
        return Ok(None);
    }
    let Some(end) = memchr::memchr(b'\n', read) else {
        return if read.len() < most { Ok(None) } else { Err(Malformed::Message("a chunk's size is too long")) };
    };
    read[..end].strip_suffix(b"\r").map(Some).ok_or(Malformed::Message("a chunk's size has no end"))
}

/// A chunk's size; its extensions say nothing to anyone, but must not look like the end of the line to somebody else.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let values = line.iter().map_while(|byte| char::from(*byte).to_digit(16));
    let (digits, size) = values.fold((0, 0), |(digits, size), value| (digits + 1, size << 4 | u64::from(value)));
    let blanks = line[digits..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let extensions = &line[digits + blanks..];
    if !(1..=16).contains(&digits) || !matches!(extensions, [] | [b';', ..]) || extensions.contains(&b'\r') {
        return Err(Malformed::Message("a chunk's size is no number"));
    }
    Ok(size)
}

/// Trailers, which end with an empty line.
fn trailers(read: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    // Nearly all bodies have none.
    if read.starts_with(b"\r\n") {
        read.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let (length, fields) = match httparse::parse_headers(read, &mut fields)? {
        httparse::Status::Complete(parsed) => parsed,
        httparse::Status::Partial if read.len() < MAX_TRAILERS => return Ok(None),
        httparse::Status::Partial => return Err(Malformed::Message("the trailers are too long")),
    };
    // In a head `httparse` takes a line feed alone for a line's end, as many do. Behind chunks few do: the body would end elsewhere for them.
    if memchr::memchr_iter(b'\n', &read[..length]).any(|at| !read[..at].ends_with(b"\r")) {
        return Err(Malformed::Message("a trailer has no end"));
    }
    let mut map = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| httparse::Error::HeaderName)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| httparse::Error::HeaderValue)?;
        if may_be_trailer(&name) {
            map.append(name, value);
        }
    }
    read.advance(length);
    Ok(Some(map))
}

#[cfg(test)]
mod tests;
