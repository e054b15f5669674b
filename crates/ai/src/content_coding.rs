//! Content codings of requests' bodies (RFC 9110, 8.4): those that a body is decoded from where its model decides.

use std::io;

use bytes::Bytes;
use compression_codecs::{BrotliDecoder, DecodeV2, GzipDecoder, ZlibDecoder, ZstdDecoder, zstd::params::DParameter};
use compression_core::util::{PartialBuffer, WriteBuffer};

/// The codings that a client may use, for `Accept-Encoding`.
pub const ACCEPTED: &str = "gzip, deflate, br, zstd";
/// Codings on top of each other.
const MAX_CODINGS: usize = 2;
/// Bytes decoded at once; other requests of the thread have their turn in between.
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

const NAMES: [(&str, Coding); 5] = [
    ("gzip", Coding::Gzip),
    ("x-gzip", Coding::Gzip),
    ("deflate", Coding::Deflate),
    ("br", Coding::Brotli),
    ("zstd", Coding::Zstd),
];

/// The codings of a body, in the order in which they were applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codings(Vec<Coding>);

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// It is not of its coding.
    #[error("the request's body is not {0}, as its Content-Encoding says")]
    Malformed(&'static str),
    /// It becomes longer than this many bytes, which are all that it may have, or out of all proportion.
    #[error("the request's body is longer than the {0} bytes allowed here once it is decompressed")]
    TooLong(u64),
}

/// A body on its way out of its codings.
pub struct Decoding {
    /// The codings not undone yet, the last of which is next.
    codings: Vec<Coding>,
    stage: Option<Stage>,
    input: Bytes,
    limit: u64,
    /// Bytes of the body, and of the forms that it has had.
    held: u64,
}

/// Outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to decode.
    More,
    /// The whole body, without codings.
    Whole(Bytes),
}

/// One coding being undone.
struct Stage {
    coding: Coding,
    decoder: Box<dyn DecodeV2 + Send>,
    /// Bytes of the input that are decoded.
    read: usize,
    output: Vec<u8>,
    members: usize,
}

impl Codings {
    /// The codings that lines of `Content-Encoding` name; `None` where there is one that is not known, or too many.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut codings = Vec::new();
        for name in lines.into_iter().flat_map(|line| line.split(|byte| *byte == b',')) {
            let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
            if is("") || is("identity") {
                continue;
            }
            codings.push(NAMES.iter().find(|(known, _)| is(known))?.1);
        }
        (codings.len() <= MAX_CODINGS).then_some(Self(codings))
    }

    /// Whether a body is as it was written.
    pub fn is_identity(&self) -> bool {
        self.0.is_empty()
    }

    /// Begins to decode a body, which may become `limit` bytes long.
    pub fn decoding(&self, body: &Bytes, limit: u64) -> Decoding {
        let length = body.len() as u64;
        let limit = limit.min(ALWAYS_ALLOWED.max(length.saturating_mul(MAX_RATIO)));
        Decoding { codings: self.0.clone(), stage: None, input: body.clone(), limit, held: length }
    }
}

impl Decoding {
    /// Decodes 64 KiB more at most.
    ///
    /// # Errors
    /// The body is not of its coding, or becomes too long.
    pub fn step(&mut self) -> Result<Step, CodingError> {
        let mut stage = match (self.stage.take(), self.codings.pop()) {
            (Some(stage), next) => {
                self.codings.extend(next);
                stage
            }
            (None, Some(coding)) => Stage::new(coding)?,
            (None, None) => return Ok(Step::Whole(self.input.clone())),
        };
        if stage.step(&self.input, self.limit)? {
            self.held += stage.output.len() as u64;
            self.input = stage.output.into();
        } else {
            self.stage = Some(stage);
        }
        Ok(Step::More)
    }

    /// Bytes that the body and its decoded forms take.
    pub fn held(&self) -> u64 {
        self.held + self.stage.as_ref().map_or(0, |stage| stage.output.len() as u64)
    }
}

impl Stage {
    fn new(coding: Coding) -> Result<Self, CodingError> {
        let decoder = coding.decoder().map_err(|_| coding.malformed())?;
        Ok(Self { coding, decoder, read: 0, output: Vec::new(), members: 1 })
    }

    /// Whether all is decoded.
    fn step(&mut self, input: &[u8], limit: u64) -> Result<bool, CodingError> {
        let malformed = |_: io::Error| self.coding.malformed();
        let before = self.output.len();
        let mut left = PartialBuffer::new(&input[self.read..]);
        self.output.resize(before + STEP, 0);
        let mut buffer = WriteBuffer::new_initialized(&mut self.output[before..]);
        let step = match left.unwritten().is_empty() {
            true => self.decoder.finish(&mut buffer),
            false => self.decoder.decode(&mut left, &mut buffer),
        };
        let written = buffer.written_len();
        self.output.truncate(before + written);
        let has_ended = step.map_err(malformed)?;
        if self.output.len() as u64 > limit {
            return Err(CodingError::TooLong(limit));
        }
        let read = left.written_len();
        self.read += read;
        if !has_ended {
            return if written == 0 && read == 0 { Err(self.coding.malformed()) } else { Ok(false) };
        }
        // A stream may consist of members, or frames, one behind the other.
        if self.read == input.len() {
            return Ok(true);
        }
        self.members += 1;
        if self.members > MAX_MEMBERS {
            return Err(self.coding.malformed());
        }
        self.decoder.reinit().map_err(malformed)?;
        Ok(false)
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

    fn malformed(self) -> CodingError {
        CodingError::Malformed(self.name())
    }

    fn decoder(self) -> io::Result<Box<dyn DecodeV2 + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(GzipDecoder::new()),
            Self::Deflate => Box::new(ZlibDecoder::new()),
            Self::Brotli => Box::new(BrotliDecoder::new()),
            Self::Zstd => Box::new(ZstdDecoder::new_with_params(&[DParameter::window_log_max(ZSTD_WINDOW)])),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"model":"m"}` by `gzip -n`.
    const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabV\xca\xcdOI\xcdQ\xb2R\xcaU\xaa\x05\0\x9bl\xba\xaa\x0d\0\0\0";

    fn decoded(codings: &str, body: &[u8], limit: u64) -> Result<Bytes, CodingError> {
        let mut decoding = Codings::of([codings.as_bytes()]).unwrap().decoding(&Bytes::copy_from_slice(body), limit);
        loop {
            if let Step::Whole(body) = decoding.step()? {
                return Ok(body);
            }
        }
    }

    #[test]
    fn codings_are_read_in_any_case_and_unknown_ones_are_none() {
        let of = |lines: &[&str]| Codings::of(lines.iter().map(|line| line.as_bytes()));
        assert!(of(&[]).unwrap().is_identity() && of(&["identity, "]).unwrap().is_identity());
        assert_eq!(of(&["GZIP", " br"]).unwrap().0, [Coding::Gzip, Coding::Brotli]);
        assert_eq!((of(&["lzma"]), of(&["gzip,gzip,gzip"])), (None, None));
    }

    #[test]
    fn a_body_is_decoded_within_its_limit() {
        assert_eq!(decoded("identity", b"plain", 5).unwrap(), "plain");
        assert_eq!(decoded("gzip", GZIP, 1 << 20).unwrap(), r#"{"model":"m"}"#);
        assert_eq!(decoded("gzip", GZIP, 12), Err(CodingError::TooLong(12)));
        assert_eq!(decoded("gzip", &[GZIP, GZIP].concat(), 100).unwrap(), r#"{"model":"m"}{"model":"m"}"#);
        for (coding, body) in [("gzip", &GZIP[..12]), ("gzip", b"plain"), ("br", b"plain"), ("zstd", b"plain"), ("deflate", b"")] {
            assert!(matches!(decoded(coding, body, 100), Err(CodingError::Malformed(_))), "{coding} {body:?}");
        }
    }
}
