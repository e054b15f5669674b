//! Just enough HTTP/1.1 to be fast at both ends of a gateway: heads are searched for what delimits the body, bodies are skipped.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes read at once to begin with: ten thousand connections that do nothing have to fit into memory.
const SMALL_BUFFER: usize = 4 << 10;
/// Bytes read at once where there are many, and the longest head.
const BUFFER: usize = 64 << 10;

/// Properties of a message's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: Start,
    pub(crate) framing: Framing,
}

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// A request, whether for `/metrics`.
    Request { metrics: bool },
    /// A response, with its status.
    Response { status: u16 },
}

/// End of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No header says: no body in a request, until the end of the connection in a response.
    Unsaid,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

impl Head {
    /// The head at the start of `bytes` and its length, or `None` while it is incomplete.
    fn parse(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let mut lines = bytes[..end].split(|&byte| byte == b'\n').map(|line| line.trim_ascii_end());
        let start = Start::parse(lines.next().unwrap_or_default())?;
        let mut framing = Framing::Unsaid;
        for line in lines {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { return Err(malformed("a header without a colon")) };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                framing = Framing::Length(decimal(value)?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") && value.eq_ignore_ascii_case(b"chunked") {
                framing = Framing::Chunked;
            }
        }
        Ok(Some((Self { start, framing }, end + 4)))
    }
}

impl Start {
    fn parse(line: &[u8]) -> io::Result<Self> {
        if !line.starts_with(b"HTTP/1.1 ") {
            return Ok(Self::Request { metrics: line.starts_with(b"GET /metrics ") });
        }
        let digits = line.get(9..12).ok_or_else(|| malformed("a response without a status"))?;
        let status = decimal(digits)?.try_into().map_err(|_| malformed("a status beyond 999"))?;
        Ok(Self::Response { status })
    }
}

/// A connection's receiving side: messages one after the other.
pub(crate) struct Receiver {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; SMALL_BUFFER], start: 0, end: 0 }
    }

    /// The next message's head, or `None` when the connection ends before it.
    pub(crate) async fn head(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Head>> {
        loop {
            if let Some((head, length)) = Head::parse(&self.buffer[self.start..self.end])? {
                self.start += length;
                return Ok(Some(head));
            }
            if self.fill(stream).await? == 0 {
                return if self.start == self.end { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Skips a body, telling `on_events` how many server-sent events each part of it completed.
    pub(crate) async fn skip(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        framing: Framing,
        mut on_events: impl FnMut(u64),
    ) -> io::Result<()> {
        self.skip_until(stream, framing, |events| {
            if events > 0 {
                on_events(events);
            }
            false
        })
        .await
    }

    /// Skips a body up to its first server-sent event and what came with that.
    pub(crate) async fn skip_to_event(&mut self, stream: &mut (impl AsyncRead + Unpin), framing: Framing) -> io::Result<()> {
        self.skip_until(stream, framing, |events| events > 0).await
    }

    async fn skip_until(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        framing: Framing,
        mut enough: impl FnMut(u64) -> bool,
    ) -> io::Result<()> {
        let mut body = Body::new(framing);
        loop {
            self.start += body.take(&self.buffer[self.start..self.end])?;
            if enough(std::mem::take(&mut body.events)) || body.is_complete() {
                return Ok(());
            }
            if self.fill(stream).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start.., 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            if self.end == BUFFER {
                return Err(malformed("a head longer than the buffer"));
            }
            self.buffer.resize(BUFFER, 0);
        }
        let count = stream.read(&mut self.buffer[self.end..]).await?;
        self.end += count;
        if self.end == self.buffer.len() {
            // There is more where this came from.
            self.buffer.resize(BUFFER, 0);
        }
        Ok(count)
    }
}

/// Reads a body as it comes. Server-sent events are counted in chunked bodies only: no other kind is a stream.
struct Body {
    state: State,
    events: u64,
    after_newline: bool,
}

enum State {
    /// Bytes left of a body with a length.
    Length(u64),
    /// In the line with a chunk's size: what was read of it, and whether an extension has begun.
    Size {
        size: u64,
        extension: bool,
    },
    /// Bytes left of a chunk.
    Chunk(u64),
    /// In the line end after a chunk.
    ChunkEnd,
    /// In the lines after the last chunk; whether the current one is empty so far.
    Trailers {
        empty: bool,
    },
    Complete,
}

impl Body {
    fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Unsaid | Framing::Length(0) => State::Complete,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, extension: false },
        };
        Self { state, events: 0, after_newline: false }
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Takes what belongs to the body from the start of `bytes` and says how much that was.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        while at < bytes.len() && !self.is_complete() {
            at += self.step(&bytes[at..])?;
        }
        Ok(at)
    }

    fn step(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Length(left) | State::Chunk(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                let finished = *left == 0;
                let chunk = matches!(self.state, State::Chunk(_));
                if chunk {
                    self.count_events(&bytes[..count]);
                }
                if finished {
                    self.state = if chunk { State::ChunkEnd } else { State::Complete };
                }
                return Ok(count);
            }
            State::Size { size: 0, extension: _ } if bytes[0] == b'\n' => self.state = State::Trailers { empty: true },
            State::Size { size, extension: _ } if bytes[0] == b'\n' => self.state = State::Chunk(*size),
            State::Size { size, extension } => match (bytes[0] as char).to_digit(16) {
                Some(digit) if !*extension => {
                    *size = size.checked_mul(16).ok_or_else(|| malformed("a chunk without end"))? + u64::from(digit);
                }
                _ => *extension = true,
            },
            State::ChunkEnd if bytes[0] == b'\n' => self.state = State::Size { size: 0, extension: false },
            State::ChunkEnd => {}
            State::Trailers { empty: true } if bytes[0] == b'\n' => self.state = State::Complete,
            State::Trailers { empty } => match bytes[0] {
                b'\r' => {}
                byte => *empty = byte == b'\n',
            },
            State::Complete => return Ok(0),
        }
        Ok(1)
    }

    fn count_events(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.events += u64::from(byte == b'\n' && self.after_newline);
            self.after_newline = byte == b'\n';
        }
    }
}

fn decimal(text: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| malformed("a number that is none"))
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_where_the_body_ends() {
        let (head, length) = Head::parse(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 12\r\n\r\nrest").unwrap().unwrap();
        assert_eq!(head, Head { start: Start::Response { status: 200 }, framing: Framing::Length(12) });
        assert_eq!(length, 39);
        let (head, _) = Head::parse(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().unwrap();
        assert_eq!(head, Head { start: Start::Request { metrics: false }, framing: Framing::Chunked });
        assert_eq!(Head::parse(b"GET /metrics HTTP/1.1\r\nhost: a\r\n").unwrap(), None);
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n").is_err());
    }

    #[test]
    fn chunked_bodies_end_and_events_count_wherever_reads_split_them() {
        let bytes = b"8;a=b\r\ndata: 1\n\r\nA\r\n\ndata: 2\n\n\r\n0\r\nx: y\r\n\r\n";
        for split in 0..bytes.len() {
            let mut body = Body::new(Framing::Chunked);
            assert_eq!(body.take(&bytes[..split]).unwrap(), split);
            assert!(!body.is_complete());
            assert_eq!(body.take(&[&bytes[split..], b"HTTP"].concat()).unwrap(), bytes.len() - split);
            assert!(body.is_complete());
            assert_eq!(body.events, 2);
        }
    }

    #[test]
    fn bodies_with_a_length_leave_what_follows() {
        let mut body = Body::new(Framing::Length(5));
        assert_eq!(body.take(b"abc").unwrap(), 3);
        assert_eq!(body.take(b"defg").unwrap(), 2);
        assert!(body.is_complete());
    }
}
