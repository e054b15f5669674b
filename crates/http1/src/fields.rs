//! The fields of a head, and what they say of the message (RFC 9112, 5 to 7).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use super::Malformed;

/// Most fields of a head, and most trailers.
pub const MAX_FIELDS: usize = 100;

/// Room for fields that the gateway adds to a message on its way: to grow a map costs more than to add them.
pub(crate) const ROOM: usize = 5;

/// Ranges of a head's field names and values. A head's bound is far below what 32 bits hold.
pub(crate) type Spans = SmallVec<[[u32; 4]; 16]>;

/// Ranges of fields that the parser found in `bytes`.
pub(crate) fn spans(bytes: &[u8], fields: &[httparse::Header<'_>]) -> Spans {
    let at = |part: &[u8]| (part.as_ptr() as usize - bytes.as_ptr() as usize) as u32;
    let span = |field: &httparse::Header<'_>| {
        let (name, value) = (at(field.name.as_bytes()), at(field.value));
        [name, name + field.name.len() as u32, value, value + field.value.len() as u32]
    };
    fields.iter().map(span).collect()
}

/// The fields of a head. Their values are parts of it, not copies.
pub(crate) fn fields(head: &Bytes, spans: &Spans) -> Result<HeaderMap, Malformed> {
    let mut map = HeaderMap::with_capacity(spans.len() + ROOM);
    for span in spans {
        let [name, name_end, value, value_end] = span.map(|at| at as usize);
        let name = HeaderName::from_bytes(&head[name..name_end]).map_err(|_| httparse::Error::HeaderName)?;
        let value = HeaderValue::from_maybe_shared(head.slice(value..value_end)).map_err(|_| httparse::Error::HeaderValue)?;
        map.append(name, value);
    }
    Ok(map)
}

/// The body's length as `Content-Length` says it, which may do so several times but in one voice (RFC 9112, 6.3).
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut lengths = list(headers, &header::CONTENT_LENGTH).map(|length| match length.as_bytes() {
        [b'0'..=b'9', ..] => length.parse::<u64>().ok(),
        _ => None,
    });
    match lengths.next() {
        None => Ok(None),
        Some(Some(length)) if lengths.all(|other| other == Some(length)) => Ok(Some(length)),
        Some(None) => Err(Malformed::Message("Content-Length is no number")),
        Some(_) => Err(Malformed::Message("Content-Length is not one number")),
    }
}

/// Whether `chunked` is the last transfer coding.
pub(crate) fn ends_chunked(headers: &HeaderMap) -> bool {
    list(headers, &header::TRANSFER_ENCODING).last().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
}

/// Whether `chunked` is the only transfer coding.
pub fn is_chunked_only(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    lines.next().is_some_and(|line| line.as_bytes().eq_ignore_ascii_case(b"chunked")) && lines.next().is_none()
}

/// Whether a header that holds a list contains a token, in any case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    list(headers, name).any(|entry| entry.eq_ignore_ascii_case(token))
}

/// The entries of a header that holds a list, on all its lines. One that is not text counts as an empty one.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().flat_map(|line| line.to_str().unwrap_or("").split(',')).map(str::trim)
}
