//! Codings of responses: which one a client prefers (RFC 9110, 12.5.3), and its encoder.

use std::io;

use compression_codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder, brotli, zstd};
use compression_core::{
    Level,
    util::{PartialBuffer, WriteBuffer},
};
use http::{HeaderMap, HeaderValue, header};
use pailou_snapshot::{Compression, ContentCoding};

/// Envoy's levels, windows as powers of two: they bound the memory of a response under way to about 1 MB.
const BROTLI_QUALITY: i32 = 3;
const BROTLI_WINDOW: i32 = 18;
const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW: u32 = 18;

/// Output made at once, in bytes.
const OUTPUT: usize = 16 << 10;

/// A text in the coding that a client accepts, with the coding's name; `None` where it stays as it is.
pub(crate) fn compress(text: &[u8], setting: Compression, headers: &HeaderMap) -> Option<(&'static str, Vec<u8>)> {
    if (text.len() as u64) < setting.min_content_length {
        return None;
    }
    let accept = accept_encoding(headers)?;
    let coding = preferred(accept.to_str().ok()?, [setting].iter())?;
    // An encoder without memory leaves the text as it is.
    encoded(&mut *encoder(coding).ok()?, text).ok().map(|encoded| (name(coding), encoded))
}

fn encoded(encoder: &mut dyn EncodeV2, text: &[u8]) -> io::Result<Vec<u8>> {
    let mut input = PartialBuffer::new(text);
    let mut output = Vec::new();
    while !input.unwritten().is_empty() {
        write(encoder, &mut output, |encoder, buffer| encoder.encode(&mut input, buffer).map(|()| true))?;
    }
    while !write(encoder, &mut output, |encoder, buffer| encoder.finish(buffer))? {}
    Ok(output)
}

/// Takes one step of an encoder, with room for its output.
pub(crate) fn write<T>(
    encoder: &mut dyn EncodeV2,
    output: &mut Vec<u8>,
    step: impl FnOnce(&mut dyn EncodeV2, &mut WriteBuffer<'_>) -> io::Result<T>,
) -> io::Result<T> {
    let written = output.len();
    output.resize(written + OUTPUT, 0);
    let mut buffer = WriteBuffer::new_initialized(&mut output[written..]);
    let result = step(encoder, &mut buffer);
    let length = written + buffer.written_len();
    output.truncate(length);
    result
}

/// The codings that a client accepts, on one line.
pub(crate) fn accept_encoding(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let first = lines.next()?;
    if lines.next().is_none() {
        return Some(first.clone());
    }
    let lines: Vec<&[u8]> = headers.get_all(header::ACCEPT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
}

/// The coding that the client prefers; among equals the first configured. `None` where it accepts none, or prefers none.
pub(crate) fn preferred<'a>(accept: &str, settings: impl Iterator<Item = &'a Compression>) -> Option<ContentCoding> {
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

/// Its name in headers.
pub(crate) fn name(coding: ContentCoding) -> &'static str {
    match coding {
        ContentCoding::Gzip => "gzip",
        ContentCoding::Brotli => "br",
        ContentCoding::Zstd => "zstd",
    }
}

/// An encoder whose memory is bounded.
///
/// # Errors
/// It has no memory.
pub(crate) fn encoder(coding: ContentCoding) -> io::Result<Box<dyn EncodeV2 + Send>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_compressed_for_clients_that_accept_its_coding_alone() {
        let text = b"pailou_requests_active 0\n".repeat(2000);
        for (coding, name) in [(ContentCoding::Gzip, "gzip"), (ContentCoding::Brotli, "br"), (ContentCoding::Zstd, "zstd")] {
            let setting = Compression { coding, min_content_length: 30 };
            let ask = |accept: &'static str, text: &[u8]| {
                compress(text, setting, &HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accept))]))
            };
            let (known, short) = ask("gzip, br, zstd", &text).unwrap();
            assert_eq!(known, name);
            assert!(short.len() < text.len() / 10, "{name}: {}", short.len());
            assert_eq!((ask("identity", &text), ask("gzip;q=0, br;q=0, zstd;q=0", &text)), (None, None));
            assert_eq!(ask("*", &text[..29]), None, "it is too short");
        }
    }
}
