//! A response on its way to the client.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, Version, header, response::Parts};
use http_body::Body;
use pailou_http1::{End, ReasonPhrase, Writer, field, has_token, request::Wishes, room_for, trailers_announced};

use super::line::Line;

/// The request that is answered, as far as the answer depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseContext {
    pub(super) is_head: bool,
    pub(super) version: Version,
    pub(super) wishes: Wishes,
}

/// A response that is being sent.
pub(super) struct Sending<B> {
    body: B,
    writer: Writer,
    /// Error that broke off the body.
    failed: Option<io::Error>,
    /// The connection may serve another request after this.
    pub(super) keeps_alive: bool,
    /// The body's end is the connection's.
    pub(super) until_close: bool,
}

impl ResponseContext {
    pub(super) fn new(method: &Method, version: Version, wishes: Wishes) -> Self {
        Self { is_head: method == Method::HEAD, version, wishes }
    }
}

impl<B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin> Sending<B> {
    /// A response, on a connection that is to be kept if the client wants that.
    pub(super) fn new(response: Response<B>, context: &ResponseContext, keep: bool) -> Self {
        let (parts, body) = response.into_parts();
        let end = end(&parts, &body, context);
        let until_close = matches!(end.0, End::Close);
        let keeps_alive =
            keep && context.wishes.keeps_alive && !until_close && !has_token(&parts.headers, &header::CONNECTION, "close");
        let out = head(&parts, context, &end, keeps_alive);
        Self { body, writer: Writer::new(out, end.0), failed: None, keeps_alive, until_close }
    }

    /// Takes of the body what is there, as much as makes one write; whether there may be more at once. To be called before each
    /// [`Sending::poll_write`], and with the connection unlocked: the body may be one that comes over it.
    pub(super) fn gather(&mut self, context: &mut Context<'_>) -> bool {
        while self.failed.is_none() && self.writer.has_room() {
            let pushed = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => self.writer.push(frame).map_err(io::Error::other),
                Poll::Ready(Some(Err(error))) => Err(io::Error::other(error)),
                Poll::Ready(None) => self.writer.end(&HeaderMap::new()).map_err(io::Error::other),
                Poll::Pending => return false,
            };
            self.failed = pushed.err();
        }
        true
    }

    /// Writes what was gathered: ready with `true` where that was the last, with `false` where the body may have more.
    pub(super) fn poll_write(&mut self, line: &mut Line, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while !self.writer.is_empty() {
            let (slices, used) = self.writer.slices();
            let written = ready!(line.poll_write(context, &slices[..used]))?;
            self.writer.written(written);
        }
        ready!(line.wire.poll_flush(context))?;
        match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(self.writer.has_ended())),
        }
    }
}

/// How the body ends, and the length to be announced.
fn end(parts: &Parts, body: &impl Body, context: &ResponseContext) -> (End, Option<u64>) {
    let announced = || {
        let said = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        said.or_else(|| body.size_hint().exact())
    };
    match parts.status {
        status if status.is_informational() || status == StatusCode::NO_CONTENT => (End::Length(0), None),
        // The length is of what a GET would yield, where that is known.
        StatusCode::NOT_MODIFIED => (End::Length(0), announced().filter(|length| *length > 0)),
        _ if context.is_head => (End::Length(0), announced().filter(|length| *length > 0)),
        _ => match announced() {
            Some(length) => (End::Length(length), Some(length)),
            None if context.version == Version::HTTP_10 => (End::Close, None),
            None if context.wishes.trailers => (End::Chunked(trailers_announced(&parts.headers)), None),
            None => (End::Chunked(Vec::new()), None),
        },
    }
}

fn head(parts: &Parts, context: &ResponseContext, (end, length): &(End, Option<u64>), keeps_alive: bool) -> BytesMut {
    let is_http10 = context.version == Version::HTTP_10;
    let mut out = room_for(0, &parts.headers, *length);
    out.extend_from_slice(if is_http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    match parts.extensions.get::<ReasonPhrase>() {
        Some(reason) => out.extend_from_slice(reason.as_bytes()),
        None => out.extend_from_slice(parts.status.canonical_reason().unwrap_or("").as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
    let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let mut has_date = false;
    for (name, value) in &parts.headers {
        // The fields that frame the message follow below.
        if *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING || (*name == header::CONNECTION && !switches) {
            continue;
        }
        has_date |= *name == header::DATE;
        field(&mut out, name.as_str(), value.as_bytes());
    }
    if let Some(length) = length {
        field(&mut out, "content-length", itoa::Buffer::new().format(*length).as_bytes());
    }
    if matches!(end, End::Chunked(_)) {
        field(&mut out, "transfer-encoding", b"chunked");
    }
    match (keeps_alive, is_http10) {
        (false, _) if !switches => field(&mut out, "connection", b"close"),
        (true, true) => field(&mut out, "connection", b"keep-alive"),
        _ => {}
    }
    if !has_date {
        date(&mut out);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// When it is said, which a gateway adds where the origin has not (RFC 9110, 6.6.1).
fn date(out: &mut BytesMut) {
    thread_local! {
        static NOW: Cell<(u64, [u8; 29])> = const { Cell::new((0, [0; 29])) };
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (mut second, mut text) = NOW.get();
    if second != since {
        let formatted = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(since));
        if let Ok(formatted) = formatted.as_bytes().try_into() {
            (second, text) = (since, formatted);
            NOW.set((second, text));
        }
    }
    field(out, "date", &text);
}

#[cfg(test)]
mod tests;
