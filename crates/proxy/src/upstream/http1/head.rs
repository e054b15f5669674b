//! The head of a response (RFC 9112, 4 to 6).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, response::Parts};
use hyper::ext::ReasonPhrase;
use smallvec::SmallVec;

use super::{Http1Error, receiving::Framing};

/// Bound on a response's head, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// Most headers of a response, and most trailers.
pub(super) const MAX_FIELDS: usize = 100;

/// A response's head, and what it says of the body and of the connection.
pub(super) struct Head {
    pub(super) parts: Parts,
    pub(super) framing: Framing,
    /// The connection may serve another request.
    pub(super) keeps_alive: bool,
}

/// Where a field's name and value begin and end.
type Spans = SmallVec<[[usize; 4]; 16]>;

/// Takes the head of the response to a request off what was read, and interim ones before it; `None` where more has to come.
pub(super) fn take(read: &mut BytesMut, method: &Method) -> Result<Option<Head>, Http1Error> {
    loop {
        let Some((mut parts, length, spans)) = line_and_spans(read)? else {
            return if read.len() < MAX_HEAD { Ok(None) } else { Err(Http1Error::Malformed("the response's head is too long")) };
        };
        let bytes = read.split_to(length).freeze();
        if parts.status.is_informational() && parts.status != StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        parts.headers = fields(&bytes, &spans)?;
        let framing = framing(&mut parts, method)?;
        let keeps_alive = keeps_alive(&parts) && !matches!(framing, Framing::UntilClose | Framing::Switched);
        return Ok(Some(Head { parts, framing, keeps_alive }));
    }
}

fn line_and_spans(bytes: &[u8]) -> Result<Option<(Parts, usize, Spans)>, Http1Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let mut parts = Response::new(()).into_parts().0;
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    parts.status = status.ok_or(Http1Error::Malformed("the response has no valid status"))?;
    parts.version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    if response.reason != parts.status.canonical_reason()
        && let Some(Ok(reason)) = response.reason.map(|reason| ReasonPhrase::try_from(reason.as_bytes()))
    {
        parts.extensions.insert(reason);
    }
    let at = |part: &[u8]| part.as_ptr() as usize - bytes.as_ptr() as usize;
    let span = |header: &httparse::Header<'_>| {
        let (name, value) = (at(header.name.as_bytes()), at(header.value));
        [name, name + header.name.len(), value, value + header.value.len()]
    };
    Ok(Some((parts, length, response.headers.iter().map(span).collect())))
}

fn fields(bytes: &Bytes, spans: &Spans) -> Result<HeaderMap, Http1Error> {
    let mut headers = HeaderMap::with_capacity(spans.len() + 2);
    for &[name, name_end, value, value_end] in spans {
        let name = HeaderName::from_bytes(&bytes[name..name_end]).map_err(|_| httparse::Error::HeaderName)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value..value_end)).map_err(|_| httparse::Error::HeaderValue)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// How the body ends (RFC 9112, 6.3).
fn framing(parts: &mut Parts, method: &Method) -> Result<Framing, Http1Error> {
    let status = parts.status;
    if status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && status.is_success()) {
        return Ok(Framing::Switched);
    }
    if method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Framing::Length(0));
    }
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        if parts.version == Version::HTTP_10 {
            return Err(Http1Error::Malformed("HTTP/1.0 has no Transfer-Encoding"));
        }
        // It does not count beside the other, and nobody further on may take it for true.
        parts.headers.remove(header::CONTENT_LENGTH);
        return Ok(if is_chunked(&parts.headers) { Framing::chunked() } else { Framing::UntilClose });
    }
    let mut lengths = list(&parts.headers, &header::CONTENT_LENGTH).map(|length| match length.as_bytes() {
        [b'0'..=b'9', ..] => length.parse::<u64>().ok(),
        _ => None,
    });
    match lengths.next() {
        None if parts.headers.contains_key(header::CONTENT_LENGTH) => Err(Http1Error::Malformed("Content-Length is no number")),
        None => Ok(Framing::UntilClose),
        Some(Some(length)) if lengths.all(|other| other == Some(length)) => Ok(Framing::Length(length)),
        Some(_) => Err(Http1Error::Malformed("Content-Length is not one number")),
    }
}

/// Whether `chunked` is the last transfer coding.
fn is_chunked(headers: &HeaderMap) -> bool {
    list(headers, &header::TRANSFER_ENCODING).last().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
}

fn keeps_alive(parts: &Parts) -> bool {
    let says = |option: &str| list(&parts.headers, &header::CONNECTION).any(|said| said.eq_ignore_ascii_case(option));
    !says("close") && (parts.version == Version::HTTP_11 || says("keep-alive"))
}

/// The entries of a header that holds a list, on all its lines. One that is not text counts as an empty one.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().flat_map(|line| line.to_str().unwrap_or("").split(',')).map(str::trim)
}

#[cfg(test)]
mod tests;
