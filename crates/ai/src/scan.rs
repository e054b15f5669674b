//! The scan of a request body: one pass that validates JSON and finds the members a gateway needs.
//!
//! It reads as `serde_json` reads into a `Value`: members of the outermost object only, names and values escaped or not,
//! the last of several members with one name. A body that `serde_json` would refuse is refused. (One corner is left: a
//! number within a rounding error of the largest double, where `serde_json` itself depends on its features.)

use std::fmt;
use std::ops::Range;

use crate::{
    document::{Document, Members},
    json,
    output_limits::{OutputLimits, elements},
    transfer::is_transfer,
};

/// Top-level members called `model` that one body may have. More than one is an accident or an attack.
pub const MAX_MODELS: usize = 8;

/// Members that hold no part of a prompt.
const SETTINGS: [&str; 12] = [
    "model",
    "stream_options",
    "cache_salt",
    "user",
    "metadata",
    "stop",
    "logit_bias",
    "generationConfig",
    "generation_config",
    "options",
    "parameters",
    "inferenceConfig",
];

/// Members of a request body that routing and picking need, with spans in bytes of that body.
///
/// It borrows nothing, so that it can travel beside the body it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The model's name, unescaped. `None` where it is absent or not a string.
    pub model: Option<String>,
    /// `stream` is `true`.
    pub stream: bool,
    /// The most tokens the answer may have: `max_completion_tokens`, else `max_tokens`, else `max_output_tokens`.
    pub max_tokens: Option<u64>,
    /// The most tokens that all answers to the request may have: the largest limit under any name, also in Gemini's `generationConfig` and
    /// the like, for each of `n` or `best_of` answers to each of several prompts. `None` without a limit.
    pub max_output: Option<u64>,
    /// vLLM's `cache_salt`: requests with different salts share no cached prefix.
    pub cache_salt: Option<String>,
    /// Text that engines put before the prompt: Anthropic's `system`, the Responses API's `instructions`. The value as it
    /// stands.
    pub preamble: Option<Range<usize>>,
    /// The value of `messages`, else `prompt`, `input`, `query`, `text_1`, `text`, `token_ids`, as it stands, quotes or brackets included.
    pub prompt: Option<Range<usize>>,
    /// Bytes of all texts, lists and objects of the body, brackets included, but for settings: prompts under any name and any number of
    /// them, tools, schemas.
    pub content_bytes: u64,
    /// A member is there by which engines hand KV cache over.
    pub has_transfer: bool,
    /// The value of `stream_options`.
    pub(crate) stream_options: Option<Range<usize>>,
    pub(crate) models: Models,
    pub(crate) encoding: Encoding,
}

impl Scan {
    /// Prompts in a list of them, in the body that this is a scan of; 0 where it has one that is no list.
    pub fn prompts(&self, body: &[u8]) -> u64 {
        self.prompt.clone().and_then(|span| body.get(span)).map_or(0, elements)
    }
}

/// How a value is written in the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    Json,
    /// A part of a form: the bytes as they are.
    Form,
}

/// The values of all members called `model`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Models {
    spans: [(usize, usize); MAX_MODELS],
    len: usize,
}

impl Models {
    /// False when there is no more room.
    pub(crate) fn push(&mut self, span: Range<usize>) -> bool {
        let Some(slot) = self.spans.get_mut(self.len) else {
            return false;
        };
        *slot = (span.start, span.end);
        self.len += 1;
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.spans[..self.len].iter().map(|&(start, end)| start..end)
    }
}

/// Why a body yields no [`Scan`]. Offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// No bytes, or white space only.
    Empty,
    /// The body does not begin as a JSON object.
    NotObject,
    /// The body is not UTF-8.
    NotUtf8 {
        /// Offset of the first wrong sequence.
        at: usize,
    },
    /// The body is not JSON.
    Syntax {
        /// Offset of the first byte that is not JSON.
        at: usize,
    },
    /// A string has an escape for one half of a surrogate pair without the other, as from a text cut between the two.
    HalfSurrogate {
        /// Offset of the escape.
        at: usize,
    },
    /// More than 127 containers are open at once.
    TooDeep {
        /// Offset of the container too many.
        at: usize,
    },
    /// More than [`MAX_MODELS`] members are called `model`.
    RepeatedModel,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the body is empty"),
            Self::NotObject => f.write_str("the body is not a JSON object"),
            Self::NotUtf8 { at } => write!(f, "the body is not UTF-8 (byte {at})"),
            Self::Syntax { at } => write!(f, "the body is not JSON (byte {at})"),
            Self::HalfSurrogate { at } => write!(f, "a string of the body has half a surrogate pair (byte {at})"),
            Self::TooDeep { at } => write!(f, "the body is nested too deeply (byte {at})"),
            Self::RepeatedModel => {
                write!(f, "the body has more than {MAX_MODELS} members called \"model\"")
            }
        }
    }
}

impl std::error::Error for ScanError {}

/// Reads `body` in one pass. Any error means that the body names no model.
pub fn scan(body: &[u8]) -> Result<Scan, ScanError> {
    Scanner::default().finish(body)
}

/// The scan of a body that is still coming: it is read while it is near, in the processor's caches, and not all at the end.
#[derive(Debug, Default)]
pub struct Scanner {
    document: Document,
    found: FoundMembers,
    failed: Option<ScanError>,
}

impl Scanner {
    /// Reads on in a body, of which this is the beginning: all that was there before, and more.
    pub fn read(&mut self, body: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.document.read(body, false, &mut self.found).err();
        }
    }

    /// Reads on to the end of the body, which is all of it.
    ///
    /// # Errors
    /// As [`scan`].
    pub fn finish(mut self, body: &[u8]) -> Result<Scan, ScanError> {
        let read = match self.failed {
            Some(error) => Err(error),
            None => self.document.read(body, true, &mut self.found),
        };
        // A body that is not UTF-8 gets that error, whatever else stopped the reader.
        read.map(|()| self.found.finish()).map_err(|error| match std::str::from_utf8(body) {
            Ok(_) => error,
            Err(wrong) => ScanError::NotUtf8 { at: wrong.valid_up_to() },
        })
    }
}

/// Members found so far. Alternative names of one value stay apart until the end.
#[derive(Debug, Default)]
struct FoundMembers {
    scan: Scan,
    /// `max_completion_tokens`, `max_tokens`, `max_output_tokens`.
    limits: [Option<u64>; 3],
    output: OutputLimits,
    /// The prompt and the rank of the name it came under; the lowest wins.
    prompt: Option<(u8, Range<usize>)>,
}

impl Members for FoundMembers {
    fn member(&mut self, body: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        let name = json::text(body, &name)?;
        self.output.member(body, &name, &value);
        if matches!(body[value.start], b'"' | b'[' | b'{') && !SETTINGS.contains(&&*name) {
            self.scan.content_bytes += value.len() as u64;
        }
        match &*name {
            "model" => return self.model(body, value),
            "stream" => self.scan.stream = is_true(body, &value),
            "max_completion_tokens" => self.limits[0] = uint(body, &value),
            "max_tokens" => self.limits[1] = uint(body, &value),
            "max_output_tokens" => self.limits[2] = uint(body, &value),
            "stream_options" => self.scan.stream_options = Some(value),
            "cache_salt" => self.scan.cache_salt = string(body, &value)?,
            "system" | "instructions" => self.scan.preamble = Some(value),
            "messages" => self.prompt(0, value),
            "prompt" => self.prompt(1, value),
            "input" => self.prompt(2, value),
            "query" => self.prompt(3, value),
            "text_1" => self.prompt(4, value),
            "text" => self.prompt(5, value),
            "token_ids" => self.prompt(6, value),
            name => self.scan.has_transfer |= is_transfer(body, name, &value),
        }
        Ok(())
    }
}

impl FoundMembers {
    fn model(&mut self, body: &[u8], value: Range<usize>) -> Result<(), ScanError> {
        self.scan.model = string(body, &value)?;
        if self.scan.models.push(value) { Ok(()) } else { Err(ScanError::RepeatedModel) }
    }

    fn prompt(&mut self, rank: u8, value: Range<usize>) {
        if self.prompt.as_ref().is_none_or(|(best, _)| rank <= *best) {
            self.prompt = Some((rank, value));
        }
    }

    fn finish(mut self) -> Scan {
        self.scan.max_tokens = self.limits.into_iter().flatten().next();
        self.scan.max_output = self.output.total();
        self.scan.prompt = self.prompt.map(|(_, span)| span);
        self.scan
    }
}

/// Whether a value is `true`.
fn is_true(body: &[u8], value: &Range<usize>) -> bool {
    body[value.clone()] == *b"true"
}

/// A number without sign, fraction or exponent that fits.
fn uint(body: &[u8], value: &Range<usize>) -> Option<u64> {
    let digits = Some(&body[value.clone()]).filter(|value| value[0].is_ascii_digit())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The text of a string.
fn string(body: &[u8], value: &Range<usize>) -> Result<Option<String>, ScanError> {
    if body[value.start] != b'"' {
        return Ok(None);
    }
    json::text(body, &(value.start + 1..value.end - 1)).map(|text| Some(text.into_owned()))
}
