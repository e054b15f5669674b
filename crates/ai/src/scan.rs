//! The scan of a request body: one pass that validates JSON and finds the members a gateway needs.
//!
//! It reads as `serde_json` reads into a `Value`: members of the outermost object only, names and values escaped or not,
//! the last of several members with one name. A body that `serde_json` would refuse is refused. (One corner is left: a
//! number within a rounding error of the largest double, where `serde_json` itself depends on its features.)

use std::fmt;
use std::ops::Range;

use crate::json::Lexer;

/// Top-level members called `model` that one body may have. More than one is an accident or an attack.
pub const MAX_MODELS: usize = 8;

/// What a request body says, with spans in bytes of that body.
///
/// It borrows nothing, so that it can travel beside the body it was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The model's name, unescaped. `None` where it is absent or not a string.
    pub model: Option<String>,
    /// `stream` is `true`.
    pub stream: bool,
    /// The most tokens the answer may have: `max_completion_tokens`, else `max_tokens`, else `max_output_tokens`.
    pub max_tokens: Option<u64>,
    /// `stream_options.include_usage` is `true`.
    pub include_usage: bool,
    /// vLLM's `cache_salt`: requests with different salts share no cached prefix.
    pub cache_salt: Option<String>,
    /// What engines put before the prompt: Anthropic's `system`, the Responses API's `instructions`. The value as it stands.
    pub preamble: Option<Range<usize>>,
    /// The value of `messages`, else `prompt`, `input`, `query`, `text_1`, `text`, as it stands, quotes or brackets included.
    pub prompt: Option<Range<usize>>,
    pub(crate) models: Models,
    pub(crate) encoding: Encoding,
    /// Where a member can be put in first, and where the last `stream_options` stands. JSON only.
    pub(crate) first_member: usize,
    pub(crate) stream_options: Option<StreamOptions>,
}

/// How a value is written in the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    Json,
    /// A part of a form: the bytes as they are.
    Form,
}

/// Where `stream_options` can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StreamOptions {
    /// Not an object: the value.
    Other(Range<usize>),
    /// An object without `include_usage`: the position after its brace, and whether it has no members.
    Object { first_member: usize, empty: bool },
    /// An object with `include_usage`: that member's value.
    IncludeUsage(Range<usize>),
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
        /// Where the first wrong sequence begins.
        at: usize,
    },
    /// The body is not JSON.
    Syntax {
        /// Where it stops being JSON.
        at: usize,
    },
    /// More than 127 containers are open at once.
    TooDeep {
        /// Where the container too many opens.
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
    // What is wrong with a body that is not UTF-8 is that, wherever reading it stopped.
    scan_json(body).map_err(|error| match std::str::from_utf8(body) {
        Ok(_) => error,
        Err(wrong) => ScanError::NotUtf8 { at: wrong.valid_up_to() },
    })
}

fn scan_json(body: &[u8]) -> Result<Scan, ScanError> {
    let mut lexer = Lexer::new(body);
    match lexer.peek() {
        None => return Err(ScanError::Empty),
        Some(b'{') => {}
        Some(_) => return Err(ScanError::NotObject),
    }
    let mut found = Found::default();
    found.scan.first_member = lexer.pos() + 1;
    lexer.members(|lexer, name| found.member(lexer, name))?;
    if lexer.peek().is_some() {
        return Err(lexer.unexpected());
    }
    Ok(found.finish())
}

/// A scan under way: members that stand for one another are told apart until the end.
#[derive(Default)]
struct Found {
    scan: Scan,
    /// `max_completion_tokens`, `max_tokens`, `max_output_tokens`.
    limits: [Option<u64>; 3],
    /// The prompt and the rank of the name it came under; the lowest wins.
    prompt: Option<(u8, Range<usize>)>,
}

impl Found {
    fn member(&mut self, lexer: &mut Lexer<'_>, name: &str) -> Result<(), ScanError> {
        match name {
            "model" => self.model(lexer)?,
            "stream" => self.scan.stream = bool_value(lexer)?,
            "max_completion_tokens" => self.limits[0] = uint_value(lexer)?,
            "max_tokens" => self.limits[1] = uint_value(lexer)?,
            "max_output_tokens" => self.limits[2] = uint_value(lexer)?,
            "stream_options" => self.stream_options(lexer)?,
            "cache_salt" => self.scan.cache_salt = string_value(lexer)?.0,
            "system" | "instructions" => self.scan.preamble = Some(lexer.skip_value()?),
            "messages" => self.prompt(0, lexer)?,
            "prompt" => self.prompt(1, lexer)?,
            "input" => self.prompt(2, lexer)?,
            "query" => self.prompt(3, lexer)?,
            "text_1" => self.prompt(4, lexer)?,
            "text" => self.prompt(5, lexer)?,
            _ => {
                lexer.skip_value()?;
            }
        }
        Ok(())
    }

    fn model(&mut self, lexer: &mut Lexer<'_>) -> Result<(), ScanError> {
        let (model, span) = string_value(lexer)?;
        self.scan.model = model;
        if self.scan.models.push(span) { Ok(()) } else { Err(ScanError::RepeatedModel) }
    }

    fn prompt(&mut self, rank: u8, lexer: &mut Lexer<'_>) -> Result<(), ScanError> {
        let span = lexer.skip_value()?;
        if self.prompt.as_ref().is_none_or(|(best, _)| rank <= *best) {
            self.prompt = Some((rank, span));
        }
        Ok(())
    }

    fn stream_options(&mut self, lexer: &mut Lexer<'_>) -> Result<(), ScanError> {
        self.scan.include_usage = false;
        if lexer.peek() != Some(b'{') {
            self.scan.stream_options = Some(StreamOptions::Other(lexer.skip_value()?));
            return Ok(());
        }
        let mut options = StreamOptions::Object { first_member: lexer.pos() + 1, empty: true };
        lexer.members(|lexer, name| {
            if name == "include_usage" {
                lexer.peek();
                let start = lexer.pos();
                self.scan.include_usage = bool_value(lexer)?;
                options = StreamOptions::IncludeUsage(start..lexer.pos());
                return Ok(());
            }
            lexer.skip_value()?;
            if let StreamOptions::Object { empty, .. } = &mut options {
                *empty = false;
            }
            Ok(())
        })?;
        self.scan.stream_options = Some(options);
        Ok(())
    }

    fn finish(mut self) -> Scan {
        self.scan.max_tokens = self.limits.into_iter().flatten().next();
        self.scan.prompt = self.prompt.map(|(_, span)| span);
        self.scan
    }
}

/// Consumes a value: `true` for `true`, `false` for anything else.
fn bool_value(lexer: &mut Lexer<'_>) -> Result<bool, ScanError> {
    match lexer.peek() {
        Some(b't' | b'f') => Ok(lexer.literal()? == Some(true)),
        _ => lexer.skip_value().map(|_| false),
    }
}

/// Consumes a value: a number without sign, fraction or exponent that fits.
fn uint_value(lexer: &mut Lexer<'_>) -> Result<Option<u64>, ScanError> {
    let number = matches!(lexer.peek(), Some(b'0'..=b'9'));
    let span = lexer.skip_value()?;
    Ok(if number { lexer.text(&span)?.parse().ok() } else { None })
}

/// Consumes a value: the text of a string, and the span of whatever it is, quotes included.
fn string_value(lexer: &mut Lexer<'_>) -> Result<(Option<String>, Range<usize>), ScanError> {
    if lexer.peek() != Some(b'"') {
        return Ok((None, lexer.skip_value()?));
    }
    let inner = lexer.string()?;
    let text = lexer.text(&inner)?.into_owned();
    Ok((Some(text), inner.start - 1..inner.end + 1))
}
