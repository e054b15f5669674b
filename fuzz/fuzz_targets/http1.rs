//! Support of the targets for HTTP/1.1: input, a connection in memory for hyper, and the form in which readings are compared.

#![allow(dead_code, reason = "each target uses a part of it")]

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use hyper::rt::{Read, ReadBufCursor, Write};

/// Bytes of the input that say how the message behind them is sent.
const PLAN: usize = 8;

/// Input: a message, and how it is sent.
pub struct Plan<'a> {
    repeats: usize,
    change: (usize, u8),
    lengths: &'a [u8],
    pub choice: u8,
    text: &'a [u8],
}

impl<'a> Plan<'a> {
    pub fn new(input: &'a [u8]) -> Option<Self> {
        let (plan, text) = input.split_at_checked(PLAN)?;
        let [repeats, at_high, at_low, byte, choice, lengths @ ..] = plan else { return None };
        let at = usize::from(*at_high) << 8 | usize::from(*at_low);
        let at = if text.is_empty() { 0 } else { at % text.len() };
        Some(Self { repeats: usize::from(repeats % 5), change: (at, *byte), lengths, choice: *choice, text })
    }

    /// The message once, or several times and then with one byte changed, so that the cache of heads has something to do.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let mut messages = vec![self.text.to_vec(); self.repeats.max(1)];
        if self.repeats > 0 {
            let mut changed = self.text.to_vec();
            let (at, byte) = self.change;
            if let Some(to) = changed.get_mut(at) {
                *to = byte;
            }
            messages.extend([changed, self.text.to_vec()]);
        }
        messages
    }

    /// Cuts bytes into pieces of the input's lengths.
    pub fn cut<'b>(&self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut lengths = self.lengths.iter().map(|length| match usize::from(*length) {
            short @ ..128 => short + 1,
            long => (long - 127) * 64,
        });
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let length = lengths.next().unwrap_or(bytes.len()).min(bytes.len());
            let (piece, rest) = bytes.split_at(length);
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

/// Fields in order, so that readings can be compared and printed.
pub type Fields = Vec<(String, Bytes)>;

pub fn listed(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.to_string(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}

/// Writes a length without leading zeros, once: of equal lines hyper keeps one as it came, this crate its number.
pub fn plain_length(headers: &mut HeaderMap) {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|line| line.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Trailers but for those that this crate leaves out, since a recipient must not take them from there.
pub fn allowed_trailers(trailers: Option<&HeaderMap>) -> Fields {
    const LEFT_OUT: &[&str] = &[
        "authorization",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "host",
        "max-forwards",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
    ];
    let mut listed = trailers.map(listed).unwrap_or_default();
    listed.retain(|(name, _)| !LEFT_OUT.contains(&&**name));
    listed
}

/// Takes the rest of a body off `read`, which `more` adds to; `None` where it is malformed or never ends.
pub fn body(
    framing: &mut pailou_http1::Framing,
    read: &mut BytesMut,
    mut more: impl FnMut(&mut BytesMut) -> bool,
) -> Option<(Vec<u8>, Fields)> {
    let (mut data, mut trailers) = (Vec::new(), Fields::new());
    loop {
        while let Some(frame) = framing.take(read).ok()? {
            match frame.into_data() {
                Ok(part) => data.extend_from_slice(&part),
                Err(frame) => trailers = frame.trailers_ref().map(listed).unwrap_or_default(),
            }
        }
        if framing.is_over() {
            return Some((data, trailers));
        }
        if !more(read) {
            return (*framing == pailou_http1::Framing::UntilClose).then_some((data, trailers));
        }
    }
}

/// hyper's end of a connection in memory.
#[derive(Clone, Default)]
pub struct Pipe(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    incoming: VecDeque<u8>,
    is_closed: bool,
    written: usize,
    steps: usize,
}

impl Pipe {
    pub fn send(&self, bytes: &[u8]) {
        self.0.borrow_mut().incoming.extend(bytes);
    }

    pub fn close(&self) {
        self.0.borrow_mut().is_closed = true;
    }

    /// Bytes that hyper has written.
    pub fn written(&self) -> usize {
        self.0.borrow().written
    }

    /// Reads and writes so far that did something: whether hyper is stuck.
    pub fn steps(&self) -> usize {
        self.0.borrow().steps
    }
}

impl Read for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        if state.incoming.is_empty() {
            return if state.is_closed { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let count = state.incoming.len().min(buffer.remaining());
        let bytes: Vec<u8> = state.incoming.drain(..count).collect();
        buffer.put_slice(&bytes);
        state.steps += 1;
        Poll::Ready(Ok(()))
    }
}

impl Write for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        state.written += bytes.len();
        state.steps += 1;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
