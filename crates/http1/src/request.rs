//! The head of a request (RFC 9112, 2 to 7).

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, header, request::Parts};

use crate::{
    Framing, MAX_FIELDS, MAX_HEAD, Malformed,
    fields::{Spans, content_length, ends_chunked, fields, has_token, spans},
    memory::{Alike, Memory},
};

/// A request's head, and what it says of the body and of the connection.
#[derive(Debug)]
pub struct Head {
    /// Method, target, version and fields.
    pub parts: Parts,
    /// How the body ends.
    pub framing: Framing,
    /// The client's wishes for the connection.
    pub wishes: Wishes,
}

/// A client's wishes for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// It may serve another request.
    pub keeps_alive: bool,
    /// The client sends its body when it has been told to.
    pub asks: bool,
    /// It asks for another protocol.
    pub upgrades: bool,
    /// It takes trailers.
    pub trailers: bool,
}

/// A request that is answered with an error before it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The status to answer with.
    pub status: StatusCode,
    /// The reason, which names no part of the request.
    pub reason: Malformed,
}

impl From<Malformed> for Refusal {
    fn from(reason: Malformed) -> Self {
        let status = match reason {
            Malformed::Fields(httparse::Error::TooManyHeaders) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, reason }
    }
}

impl Refusal {
    fn malformed(reason: &'static str) -> Self {
        Malformed::Message(reason).into()
    }
}

/// The heads that come over one connection.
#[derive(Default)]
pub struct Heads {
    /// How much of what was read was looked through before, so that a head that comes byte by byte is not parsed as often.
    seen: usize,
    memory: Memory<RequestStart>,
}

/// A head's statements beside its fields and its body's end.
struct RequestStart {
    method: Method,
    uri: Uri,
    version: Version,
    wishes: Wishes,
}

impl Heads {
    /// Takes the head of a request off what was read; `None` where more has to come.
    ///
    /// # Errors
    /// The bytes are no request, or might be read as another one, or are longer than [`MAX_HEAD`].
    pub fn take(&mut self, read: &mut BytesMut) -> Result<Option<Head>, Refusal> {
        if self.seen == 0
            && let Some(alike) = self.memory.take(read)
        {
            return Ok(Some(Head::like(alike)));
        }
        if read.is_empty() || (self.seen > 0 && !may_end(read, self.seen)) {
            self.seen = read.len();
            return short_enough(read);
        }
        self.seen = read.len();
        let Some((mut parts, length, target, spans)) = line_and_spans(read)? else { return short_enough(read) };
        if length > MAX_HEAD {
            return Err(too_long());
        }
        self.seen = 0;
        let bytes = read.split_to(length).freeze();
        parts.uri =
            Uri::from_maybe_shared(bytes.slice(target)).map_err(|_| Refusal::malformed("the request's target is no URI"))?;
        check_target(&parts)?;
        parts.headers = fields(&bytes, &spans)?;
        let framing = framing(&mut parts)?;
        let wishes = wishes(&parts, &framing);
        let head = Head { parts, framing, wishes };
        self.memory.parsed(&bytes, &spans, &head.framing, || head.said());
        Ok(Some(head))
    }
}

impl Head {
    fn like(alike: Alike<'_, RequestStart>) -> Self {
        let Alike { says, fields, framing } = alike;
        let mut parts = Request::new(()).into_parts().0;
        (parts.method, parts.uri, parts.version) = (says.method.clone(), says.uri.clone(), says.version);
        parts.headers = fields;
        Self { parts, framing, wishes: says.wishes }
    }

    /// Statements of this head, unless they depend on whether a body follows.
    fn said(&self) -> Option<RequestStart> {
        let Parts { method, uri, version, headers, .. } = &self.parts;
        if headers.contains_key(header::EXPECT) || headers.contains_key(header::UPGRADE) {
            return None;
        }
        // Not a part of what was read, which may be far larger.
        let uri = uri.to_string().try_into().ok()?;
        Some(RequestStart { method: method.clone(), uri, version: *version, wishes: self.wishes })
    }
}

fn short_enough(read: &BytesMut) -> Result<Option<Head>, Refusal> {
    if read.len() < MAX_HEAD { Ok(None) } else { Err(too_long()) }
}

fn too_long() -> Refusal {
    let reason = Malformed::Message("the request's head is too long");
    Refusal { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason }
}

/// Whether an empty line ends in what is new.
fn may_end(read: &[u8], seen: usize) -> bool {
    let from = seen.saturating_sub(3);
    memchr::memchr_iter(b'\n', &read[from..]).any(|at| {
        let before = &read[..from + at];
        before.ends_with(b"\n") || before.ends_with(b"\n\r")
    })
}

type Line = (Parts, usize, std::ops::Range<usize>, Spans);

fn line_and_spans(bytes: &[u8]) -> Result<Option<Line>, Malformed> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, &mut headers)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let mut parts = Request::new(()).into_parts().0;
    let (method, path) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed::Message("the request has no valid method"))?;
    parts.version = if request.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let target = path.as_ptr() as usize - bytes.as_ptr() as usize;
    Ok(Some((parts, length, target..target + path.len(), spans(bytes, request.headers))))
}

/// Whether the target is of the form that the method asks for (RFC 9112, 3.2).
fn check_target(parts: &Parts) -> Result<(), Refusal> {
    let uri = &parts.uri;
    let is_authority = uri.authority().is_some() && uri.scheme().is_none();
    if is_authority != (parts.method == Method::CONNECT) {
        return Err(Refusal::malformed("the request's target is not of the form that its method asks for"));
    }
    Ok(())
}

/// How the body ends (RFC 9112, 6.3). What others might read differently is refused.
fn framing(parts: &mut Parts) -> Result<Framing, Refusal> {
    let length = content_length(&parts.headers)?;
    let lines = parts.headers.get_all(header::CONTENT_LENGTH);
    if !lines.iter().all(|line| line.as_bytes().iter().all(u8::is_ascii_digit)) {
        return Err(Refusal::malformed("Content-Length is a list"));
    }
    if let (Some(length), Some(_)) = (length, lines.iter().nth(1)) {
        // A length that came several times goes on once (RFC 9110, 8.6).
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if !parts.headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(Framing::Length(length.unwrap_or(0)));
    }
    if parts.version == Version::HTTP_10 {
        return Err(Refusal::malformed("this version of HTTP has no Transfer-Encoding"));
    }
    if length.is_some() {
        return Err(Refusal::malformed("Content-Length and Transfer-Encoding contradict each other"));
    }
    match ends_chunked(&parts.headers) {
        true => Ok(Framing::chunked()),
        false => Err(Refusal::malformed("the body's end cannot be told: its last coding is not chunked")),
    }
}

fn wishes(parts: &Parts, framing: &Framing) -> Wishes {
    let is_http11 = parts.version == Version::HTTP_11;
    let headers = &parts.headers;
    Wishes {
        keeps_alive: keeps_alive(headers, is_http11),
        asks: is_http11 && !framing.is_over() && has_token(headers, &header::EXPECT, "100-continue"),
        upgrades: is_http11 && framing.is_over() && headers.contains_key(header::UPGRADE),
        trailers: is_http11 && has_token(headers, &header::TE, "trailers"),
    }
}

fn keeps_alive(headers: &HeaderMap, is_http11: bool) -> bool {
    // Few say anything, and then mostly one thing.
    headers.get(header::CONNECTION).map_or(is_http11, |_| {
        let says = |option| has_token(headers, &header::CONNECTION, option);
        !says("close") && (is_http11 || says("keep-alive"))
    })
}

#[cfg(test)]
mod tests;
