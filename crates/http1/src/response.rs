//! The head of a response (RFC 9112, 4 to 6).

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{Method, Response, StatusCode, Version, header, response::Parts};

use crate::{
    Framing, MAX_FIELDS, MAX_HEAD, Malformed, ReasonPhrase,
    fields::{Spans, content_length, fields, has_token, is_chunked_only, spans},
    memory::{Alike, Memory},
};

/// A response's head, and what it says of the body and of the connection.
#[derive(Debug)]
pub struct Head {
    /// Status, version and fields; a [`ReasonPhrase`] of its own is an extension.
    pub parts: Parts,
    /// How the body ends.
    pub framing: Framing,
    /// The connection may serve another request.
    pub keeps_alive: bool,
}

/// Most interim responses before the one that counts.
const MAX_INTERIM: u32 = 100;

/// The heads that come over one connection.
#[derive(Default)]
pub struct Heads {
    /// Interim responses to the request under way.
    interim: u32,
    memory: Memory<ResponseStart>,
}

/// A head's statements beside its fields and its body's end.
struct ResponseStart {
    status: StatusCode,
    version: Version,
    reason: Option<ReasonPhrase>,
    keeps_alive: bool,
}

impl Heads {
    /// Takes the head of the response to a request off what was read, and interim ones before it; `None` where more has to come.
    ///
    /// # Errors
    /// The bytes are no response, or might be read as another one, or are longer than [`MAX_HEAD`].
    pub fn take(&mut self, read: &mut BytesMut, method: &Method) -> Result<Option<Head>, Malformed> {
        // These methods have bodies of their own kind.
        let is_ordinary = method != Method::HEAD && method != Method::CONNECT;
        if is_ordinary && let Some(alike) = self.memory.take(read) {
            self.interim = 0;
            return Ok(Some(Head::like(alike)));
        }
        loop {
            let Some((mut parts, length, spans)) = line_and_spans(read)? else {
                let is_short = read.len() < MAX_HEAD;
                return if is_short { Ok(None) } else { Err(Malformed::Message("the response's head is too long")) };
            };
            let bytes = read.split_to(length).freeze();
            if parts.status.is_informational() && parts.status != StatusCode::SWITCHING_PROTOCOLS {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(Malformed::Message("there is no end of interim responses"));
                }
                continue;
            }
            self.interim = 0;
            parts.headers = fields(&bytes, &spans)?;
            let framing = framing(&mut parts, method)?;
            let mut keeps_alive = keeps_alive(&parts) && !matches!(framing, Framing::UntilClose | Framing::Switched);
            if parts.headers.contains_key(header::TRANSFER_ENCODING) && parts.headers.remove(header::CONTENT_LENGTH).is_some() {
                // It does not count beside the other, and nobody further on may take it for true. Nor is more to be asked of whom it
                // may have deceived (RFC 9112, 6.3).
                keeps_alive = false;
            }
            let head = Head { parts, framing, keeps_alive };
            if is_ordinary {
                self.memory.parsed(&bytes, &spans, &head.framing, || head.said(spans.len()));
            }
            return Ok(Some(head));
        }
    }
}

impl Head {
    fn like(alike: Alike<'_, ResponseStart>) -> Self {
        let Alike { says, fields, framing } = alike;
        let mut parts = Response::new(()).into_parts().0;
        (parts.status, parts.version, parts.headers) = (says.status, says.version, fields);
        if let Some(reason) = &says.reason {
            parts.extensions.insert(reason.clone());
        }
        Self { parts, framing, keeps_alive: says.keeps_alive }
    }

    /// Statements of this head of so many fields, unless one field was taken out, or the status decides how the body ends.
    fn said(&self, fields: usize) -> Option<ResponseStart> {
        let Parts { status, version, headers, extensions, .. } = &self.parts;
        if headers.len() != fields || matches!(*status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return None;
        }
        let reason = extensions.get().cloned();
        Some(ResponseStart { status: *status, version: *version, reason, keeps_alive: self.keeps_alive })
    }
}

fn line_and_spans(bytes: &[u8]) -> Result<Option<(Parts, usize, Spans)>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let mut parts = Response::new(()).into_parts().0;
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    parts.status = status.ok_or(Malformed::Message("the response has no valid status"))?;
    parts.version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    if response.reason != parts.status.canonical_reason()
        && let Some(reason) = response.reason
    {
        parts.extensions.insert(ReasonPhrase::copied(reason.as_bytes()));
    }
    Ok(Some((parts, length, spans(bytes, response.headers))))
}

/// How the body ends (RFC 9112, 6.3).
fn framing(parts: &mut Parts, method: &Method) -> Result<Framing, Malformed> {
    let status = parts.status;
    if status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && status.is_success()) {
        return Ok(Framing::Switched);
    }
    if method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Framing::Length(0));
    }
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        if parts.version == Version::HTTP_10 {
            return Err(Malformed::Message("HTTP/1.0 has no Transfer-Encoding"));
        }
        if !is_chunked_only(&parts.headers) {
            // Passed on without its name, another coding would be taken for the body itself.
            return Err(Malformed::Message("no Transfer-Encoding but chunked is understood"));
        }
        return Ok(Framing::chunked());
    }
    match content_length(&parts.headers)? {
        Some(length) => Ok(Framing::Length(length)),
        None => Ok(Framing::UntilClose),
    }
}

fn keeps_alive(parts: &Parts) -> bool {
    let says = |option| has_token(&parts.headers, &header::CONNECTION, option);
    !says("close") && (parts.version == Version::HTTP_11 || says("keep-alive"))
}

#[cfg(test)]
mod tests;
