//! Compression of responses (BackendTrafficPolicy `compressor`), by the rules of Envoy's filter and of RFC 9110, 12.5.3.

use compression_codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder, brotli, zstd};
use compression_core::Level;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use pailou_snapshot::{Compression, Compressor, ContentCoding};

use crate::{
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
/// Envoy's levels, windows as powers of two: they bound the memory of a response under way to about 1 MB.
const BROTLI_QUALITY: i32 = 3;
const BROTLI_WINDOW: i32 = 18;
const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW: u32 = 18;

/// Takes `Accept-Encoding` from a request, so that the backend leaves its response plain.
pub(super) fn request(headers: &mut HeaderMap) {
    headers.remove(header::ACCEPT_ENCODING);
}

/// The codings that a client accepts, on one line.
pub(super) fn accept_encoding(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let first = lines.next()?;
    if lines.next().is_none() {
        return Some(first.clone());
    }
    let lines: Vec<&[u8]> = headers.get_all(header::ACCEPT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
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

/// The coding that the client prefers; among equals the first configured. `None` where it accepts none, or prefers none.
fn preferred<'a>(accept: &str, settings: impl Iterator<Item = &'a Compression>) -> Option<ContentCoding> {
    let entries = accept.split(',').map(|entry| {
        let (coding, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let weight = parameters.trim().strip_prefix("q=").or_else(|| parameters.trim().strip_prefix("Q="));
        (coding.trim(), weight.map_or(1.0, |weight| weight.trim().parse::<f32>().unwrap_or(0.0)))
    });
    let weight = |name: &str| entries.clone().find(|(coding, _)| coding.eq_ignore_ascii_case(name)).map(|(_, weight)| weight);
    let any = weight("*").unwrap_or(0.0);
    // A coding that the header leaves out is acceptable as a last resort only.
    let mut best = (weight("identity").unwrap_or(0.0), None);
    for Compression { coding, .. } in settings {
        let weight = weight(name(*coding)).unwrap_or(any);
        if weight > best.0 || (weight == best.0 && weight > 0.0 && best.1.is_none()) {
            best = (weight, Some(*coding));
        }
    }
    best.1
}

fn name(coding: ContentCoding) -> &'static str {
    match coding {
        ContentCoding::Gzip => "gzip",
        ContentCoding::Brotli => "br",
        ContentCoding::Zstd => "zstd",
    }
}

fn encoder(coding: ContentCoding) -> std::io::Result<Box<dyn EncodeV2 + Send>> {
    Ok(match coding {
        ContentCoding::Gzip => Box::new(GzipEncoder::new(Level::Precise(GZIP_LEVEL).into())),
        ContentCoding::Brotli => {
            let parameters = brotli::params::EncoderParams::default().quality(Level::Precise(BROTLI_QUALITY));
            Box::new(BrotliEncoder::new(parameters.window_size(BROTLI_WINDOW)))
        }
        ContentCoding::Zstd => {
            let window = zstd::params::CParameter::window_log(ZSTD_WINDOW);
            Box::new(ZstdEncoder::new_with_params(ZSTD_LEVEL, &[window]))
        }
    })
}

/// Marks the compressed form as equal in meaning, not in bytes (RFC 9110, 8.8.3).
fn weaken_etag(headers: &mut HeaderMap) {
    let Some(etag) = headers.get(header::ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/")) else { return };
    match HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat()) {
        Ok(weak) => drop(headers.insert(header::ETAG, weak)),
        Err(_) => drop(headers.remove(header::ETAG)),
    }
}
