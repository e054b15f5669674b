//! Content codings of requests' bodies (RFC 9110, 8.4): those that a body is decoded from where its model decides.

use bytes::Bytes;
use compression_codecs::{BrotliDecoder, DecodeV2, GzipDecoder, ZlibDecoder, ZstdDecoder, zstd::params::DParameter};
use compression_core::util::{PartialBuffer, WriteBuffer};
use http::{HeaderMap, StatusCode, header};
use smallvec::SmallVec;
use tokio::task::yield_now;

use crate::{
    context::Share,
    error::{Error, Flag},
};

/// The codings that a client may use, for `Accept-Encoding`.
pub(crate) const ACCEPTED: &str = "gzip, deflate, br, zstd";
/// Codings on top of each other.
const MAX_CODINGS: usize = 2;
/// Bytes decoded at once; other requests of the worker have their turn in between.
const STEP: usize = 64 << 10;
/// A body may grow to this many times its length, beyond [`ALWAYS_ALLOWED`]: text of models grows less than 20 times.
const MAX_RATIO: u64 = 200;
/// Length that a decoded body may have whatever its ratio, in bytes.
const ALWAYS_ALLOWED: u64 = 1 << 20;
/// Members, or frames, that a compressed body may consist of: each costs time, however short it is.
const MAX_MEMBERS: usize = 1 << 10;
/// Largest window of zstd, as a power of two: what RFC 9659 has every decoder support, 8 MiB.
const ZSTD_WINDOW: u32 = 23;

/// A coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    /// The zlib format, as RFC 9110 has it.
    Deflate,
    Brotli,
    Zstd,
}

/// The codings of a body, in the order in which they were applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Codings(SmallVec<[Coding; 1]>);

impl Codings {
    /// The codings that `Content-Encoding` names; `None` where there is one that is not known, or too many.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut codings = SmallVec::new();
        for line in headers.get_all(header::CONTENT_ENCODING) {
            for name in line.to_str().ok()?.split(',').map(str::trim) {
                codings.push(match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Coding::Gzip,
                    "deflate" => Coding::Deflate,
                    "br" => Coding::Brotli,
                    "zstd" => Coding::Zstd,
                    _ => return None,
                });
            }
        }
        (codings.len() <= MAX_CODINGS).then_some(Self(codings))
    }

    /// Whether these headers are of a body that is as it was written.
    pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
        !headers.contains_key(header::CONTENT_ENCODING) || Self::of(headers).is_some_and(|codings| codings.is_identity())
    }

    /// Whether a body is as it was written.
    pub(crate) fn is_identity(&self) -> bool {
        self.0.is_empty()
    }

    /// Decodes a body. Its decoded forms count towards the room for bodies.
    ///
    /// # Errors
    /// 413 where it becomes longer than `limit`, or out of all proportion; 400 where it is not of its coding; 503 where there is no
    /// room.
    pub(crate) async fn decode(&self, body: &Bytes, limit: u64, share: &mut Share) -> Result<Bytes, Error> {
        let limit = limit.min(ALWAYS_ALLOWED.max((body.len() as u64).saturating_mul(MAX_RATIO)));
        let mut decoded = body.clone();
        let mut held = body.len() as u64;
        for coding in self.0.iter().rev() {
            let mut decoder = coding.decoder().map_err(|_| malformed(*coding))?;
            decoded = Bytes::from(coding.run(&mut *decoder, &decoded, limit, held, share).await?);
            held += decoded.len() as u64;
        }
        Ok(decoded)
    }
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn decoder(self) -> std::io::Result<Box<dyn DecodeV2 + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(GzipDecoder::new()),
            Self::Deflate => Box::new(ZlibDecoder::new()),
            Self::Brotli => Box::new(BrotliDecoder::new()),
            Self::Zstd => Box::new(ZstdDecoder::new_with_params(&[DParameter::window_log_max(ZSTD_WINDOW)])),
        })
    }

    async fn run(
        self,
        decoder: &mut (dyn DecodeV2 + Send),
        body: &[u8],
        limit: u64,
        held: u64,
        share: &mut Share,
    ) -> Result<Vec<u8>, Error> {
        let mut input = PartialBuffer::new(body);
        let mut output = Vec::new();
        let mut members = 1;
        loop {
            let (before, unread) = (output.len(), input.unwritten().len());
            output.resize(before + STEP, 0);
            let mut buffer = WriteBuffer::new_initialized(&mut output[before..]);
            let step = if unread == 0 { decoder.finish(&mut buffer) } else { decoder.decode(&mut input, &mut buffer) };
            let length = before + buffer.written_len();
            output.truncate(length);
            let has_ended = step.map_err(|_| malformed(self))?;
            if length as u64 > limit {
                return Err(too_long(limit));
            }
            share.grow_to(held + length as u64)?;
            if has_ended {
                // A stream may consist of members, or frames, one behind the other.
                if input.unwritten().is_empty() {
                    return Ok(output);
                }
                members += 1;
                if members > MAX_MEMBERS {
                    return Err(malformed(self));
                }
                decoder.reinit().map_err(|_| malformed(self))?;
            } else if length == before && input.unwritten().len() == unread {
                return Err(malformed(self));
            }
            yield_now().await;
        }
    }
}

fn malformed(coding: Coding) -> Error {
    let error = Error::new(Flag::ClientBody, format!("the request's body is not {}, as its Content-Encoding says", coding.name()));
    Error { status: StatusCode::BAD_REQUEST, ..error }
}

fn too_long(limit: u64) -> Error {
    let message = format!("the request's body is longer than the {limit} bytes allowed here once it is decompressed");
    Error::new(Flag::OverLimit, message).with_code("request_too_large")
}

/// The error for a body in a coding that the gateway cannot decode (RFC 9110, 15.5.16).
pub(crate) fn unsupported() -> Error {
    let message =
        format!("the request's Content-Encoding is not supported where the `model` in a body counts; use {ACCEPTED}, or none");
    Error { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Error::new(Flag::NoRoute, message) }
}
