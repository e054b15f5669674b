//! Compression of responses (BackendTrafficPolicy `compressor`), by the rules of Envoy's filter and of RFC 9110, 12.5.3.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use pailou_snapshot::Compressor;

use crate::{
    compression::{encoder, name, preferred},
    headers,
    response_body::{Compressed, ResponseBody},
};

/// Media types that compression is worth while for: Envoy's, and JavaScript and XML by their other names. Event streams are
/// not among them: every event would have to wait for the next.
const MEDIA_TYPES: [&str; 10] = [
    "application/javascript",
    "application/json",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/xml",
];
/// Takes `Accept-Encoding` from a request, so that the backend leaves its response plain.
pub(super) fn request(headers: &mut HeaderMap) {
    headers.remove(header::ACCEPT_ENCODING);
}

/// Compresses a response if it may be compressed and the client accepts a coding.
pub(super) fn response(
    settings: &Compressor,
    accept: Option<&HeaderValue>,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    if !is_compressible(&response) {
        return response;
    }
    let length = response.body().size_hint().exact();
    let long_enough = settings.0.iter().filter(|it| length.is_none_or(|length| length >= it.min_content_length));
    let mut long_enough = long_enough.peekable();
    if long_enough.peek().is_none() {
        return response;
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let Some(coding) = preferred(accept, long_enough) else { return response };
    let Ok(encoder) = encoder(coding) else { return response };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name(coding)));
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    headers::remove_digests(headers);
    weaken_etag(headers);
    response.map(|inner| ResponseBody::compressed(Compressed::new(inner, encoder)))
}

fn is_compressible(response: &Response<ResponseBody>) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let has_body = !status.is_informational() && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let media_type = headers::media_type(response.headers());
    has_body
        && status != StatusCode::PARTIAL_CONTENT
        && !response.body().is_end_stream()
        && !headers.contains_key(header::CONTENT_ENCODING)
        && MEDIA_TYPES.iter().any(|it| it.eq_ignore_ascii_case(media_type))
        && !text(header::CACHE_CONTROL).split(',').any(|it| it.trim().eq_ignore_ascii_case("no-transform"))
}

/// Marks the compressed form as equal in meaning, not in bytes (RFC 9110, 8.8.3).
fn weaken_etag(headers: &mut HeaderMap) {
    let Some(etag) = headers.get(header::ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/")) else { return };
    match HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat()) {
        Ok(weak) => drop(headers.insert(header::ETAG, weak)),
        Err(_) => drop(headers.remove(header::ETAG)),
    }
}
