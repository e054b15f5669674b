//! A request on its way out (RFC 9112, 2 to 7).

use std::{
    fmt::Write as _,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, header};
use http_body::{Body as _, Frame};

use super::{Http1Error, wire::Wire};
use crate::{body::RequestBody, upstream::RequestHead};

/// A piece of a body up to this length is copied behind what comes before it, so that both are one write of one slice.
const COPIED: usize = 4 << 10;
/// No more is put together for one write.
const JOINED: usize = 16 << 10;
/// What a header takes besides its value, by and large.
const HEADER: usize = 64;

/// A request that is being sent.
pub(super) struct Sending {
    body: RequestBody,
    framing: Framing,
    /// To be written: head, chunk sizes, short pieces ...
    out: BytesMut,
    /// ... then a long piece of the body, and what ends its chunk.
    piece: Bytes,
    tail: &'static [u8],
    has_ended: bool,
}

/// How the body's end is told.
enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// In chunks, with the trailers that were announced.
    Chunked(Vec<HeaderName>),
}

impl Sending {
    pub(super) fn new(head: &RequestHead<'_>, body: RequestBody) -> Self {
        let headers = head.headers;
        let mut out = BytesMut::with_capacity(256 + HEADER * 2 * headers.len());
        for part in [head.method.as_str(), " ", head.target.as_str(), " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        field(&mut out, "host", head.host.as_bytes());
        for (name, value) in headers {
            field(&mut out, name.as_str(), value.as_bytes());
        }
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let framing = match announced.or_else(|| body.size_hint().exact()) {
            Some(length) => {
                if announced.is_none() && !body.is_end_stream() {
                    field(&mut out, "content-length", itoa::Buffer::new().format(length).as_bytes());
                }
                Framing::Length(length)
            }
            None => {
                field(&mut out, "transfer-encoding", b"chunked");
                Framing::Chunked(announced_trailers(headers))
            }
        };
        out.extend_from_slice(b"\r\n");
        let has_ended = matches!(framing, Framing::Length(0));
        Self { body, framing, out, piece: Bytes::new(), tail: b"", has_ended }
    }

    /// Whether the rest has yet to come from the client.
    pub(super) fn streams(&self) -> bool {
        !self.body.is_held()
    }

    /// Sends on; ready when all is sent.
    pub(super) fn poll(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        loop {
            self.gather(context)?;
            if self.out.is_empty() && self.piece.is_empty() && self.tail.is_empty() {
                ready!(wire.poll_flush(context))?;
                return if self.has_ended { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let slices = [IoSlice::new(&self.out), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            let used = if self.piece.is_empty() && self.tail.is_empty() { 1 } else { slices.len() };
            let written = ready!(wire.poll_write(context, &slices[..used]))?;
            self.written(written);
        }
    }

    /// Takes of the body what is there, as much as makes one write.
    fn gather(&mut self, context: &mut Context<'_>) -> Result<(), Http1Error> {
        while !self.has_ended && self.piece.is_empty() && self.tail.is_empty() && self.out.len() < JOINED {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => self.push(frame)?,
                Poll::Ready(Some(Err(error))) => return Err(Http1Error::RequestBody(Box::new(error))),
                Poll::Ready(None) => self.end(&HeaderMap::new())?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn push(&mut self, frame: Frame<Bytes>) -> Result<(), Http1Error> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(&frame.into_trailers().unwrap_or_default()),
        };
        if data.is_empty() {
            return Ok(());
        }
        let mut tail: &[u8] = b"";
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Http1Error::Malformed("the request is longer than it said"))?;
                self.has_ended = *left == 0;
            }
            Framing::Chunked(_) => {
                // Writing to a buffer does not fail.
                let _ = write!(self.out, "{:x}\r\n", data.len());
                tail = b"\r\n";
            }
        }
        if data.len() <= COPIED {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(tail);
        } else {
            (self.piece, self.tail) = (data, tail);
        }
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> Result<(), Http1Error> {
        match &self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => return Err(Http1Error::Malformed("the request is shorter than it said")),
            Framing::Chunked(announced) => {
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

    fn written(&mut self, mut count: usize) {
        let of_out = count.min(self.out.len());
        self.out.advance(of_out);
        count -= of_out;
        let of_piece = count.min(self.piece.len());
        self.piece.advance(of_piece);
        self.tail = &self.tail[count - of_piece..];
    }
}

fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// The trailers that `Trailer` names, but for those that a recipient must not take from there (RFC 9110, 6.5.1).
fn announced_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::TRAILER).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    names.filter(may_be_trailer).collect()
}

/// Whether a field may come behind the body: not what frames the message, routes it, or says what the body is.
pub(super) fn may_be_trailer(name: &HeaderName) -> bool {
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
