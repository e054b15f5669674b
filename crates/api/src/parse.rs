//! Bytes to typed objects: YAML and JSON, one or many documents, lists.
//!
//! Every document stands alone: one that is wrong yields errors and leaves its neighbours be. An
//! error names the file, the line, the object and the field. Nothing here reads files.

mod decode;
mod documents;
mod error;
mod foreign;
mod json;
mod locate;
mod metadata;
mod path;
mod suggest;
mod tracked;
mod typed;
mod unknown_field;
mod yaml;

use crate::undecodable::Undecodable;
use crate::{NamespaceName, Object};

pub use error::{ParseError, Problem};
pub use foreign::{ForeignObject, advice};
pub use unknown_field::UnknownField;

/// The largest input that [`parse`] takes, in bytes.
pub const MAX_INPUT: usize = 64 << 20;

/// The most documents and list items that are read from one input.
pub const MAX_OBJECTS: usize = 100_000;

/// The most errors that are reported for one input.
pub const MAX_ERRORS: usize = 1_000;

/// Result of parsing an input.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The objects that are in order, as they stand in the input.
    pub objects: Vec<Decoded>,
    /// Errors of the other documents; at most [`MAX_ERRORS`].
    pub errors: Vec<ParseError>,
    /// The readable part of those others that have a status.
    pub undecodable: Vec<Undecodable>,
    /// Objects of kinds that are not the gateway's; at most [`MAX_OBJECTS`].
    pub foreign: Vec<ForeignObject>,
}

/// An object and what was found beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object, checked and with its defaults.
    pub object: Object,
    /// Fields that the kind does not have, such as `spec.rules[0].matchs`.
    pub ignored: Vec<UnknownField>,
    /// The line on which its document begins, from 1.
    pub line: usize,
}

/// Reads one YAML document of this kind; `None` if it is of another. Fields that the type does not have are left out.
///
/// # Errors
/// Why it does not decode, with the field, and without a part of the text.
pub(crate) fn document_of_kind<T: serde::de::DeserializeOwned>(text: &str, kind: &str) -> Result<Option<T>, String> {
    let value = yaml::checked_value(text)?;
    if value.get("kind").and_then(serde_json::Value::as_str) != Some(kind) {
        return Ok(None);
    }
    tracked::decode(value, "", &mut Vec::new()).map(Some).map_err(|(path, error)| format!("{path}: {error}"))
}

/// Reads a value from YAML that stands within an object, such as in an annotation. A field that its type does not have is an error.
/// `root` begins the paths of fields.
///
/// # Errors
/// Why it does not decode, with the field, and without a part of the text.
pub(crate) fn fragment<T: serde::de::DeserializeOwned>(text: &str, root: &str) -> Result<T, String> {
    fragment_of(yaml::checked_value(text)?, root)
}

/// The same of a value that is parsed already.
///
/// # Errors
/// As of [`fragment`].
pub(crate) fn fragment_of<T: serde::de::DeserializeOwned>(value: serde_json::Value, root: &str) -> Result<T, String> {
    let mut ignored = Vec::new();
    let value = tracked::decode(value, root, &mut ignored);
    match (value, ignored.first()) {
        (Ok(value), None) => Ok(value),
        (Ok(_), Some(unknown)) => Err(unknown.to_string()),
        (Err((path, error)), _) => Err(format!("{path}: {error}")),
    }
}

/// Reads every object of an input.
///
/// `origin` names the input in errors: a path, or `-` for standard input. Namespaced objects that
/// name no namespace are put into `namespace`.
pub fn parse(bytes: &[u8], origin: &str, namespace: &NamespaceName) -> Parsed {
    let mut reader = Reader { origin, namespace, keeps_undecodable: true, parsed: Parsed::default() };
    match text_of(bytes) {
        // A separator of documents makes it YAML, of which JSON is a part.
        Ok(text) if json::looks_like_json(text) && !documents::are_several(text) => json::read(text, &mut reader),
        Ok(text) => yaml::read(text, &mut reader),
        Err(problem) => reader.fail(ParseError::of_input(origin, problem)),
    }
    reader.parsed
}

/// Decodes one object of JSON that is already parsed, as an API server sends it.
///
/// `origin` names its source in errors. Fields that an API server always fills in must be there: a namespaced object names its
/// namespace. [`Undecodable::new`] reads the readable part of an object that does not decode.
///
/// # Errors
/// All errors in it, at least one and at most [`MAX_ERRORS`]; none quotes a Secret's values.
pub fn parse_object(value: serde_json::Value, origin: &str, namespace: &NamespaceName) -> Result<Decoded, Vec<ParseError>> {
    let mut reader = Reader { origin, namespace, keeps_undecodable: false, parsed: Parsed::default() };
    decode::decode(value, &decode::Source { line: 0, find_line: &|_| None }, &mut reader);
    match reader.parsed.objects.pop() {
        Some(object) if reader.parsed.errors.is_empty() && reader.parsed.objects.is_empty() => Ok(object),
        _ if reader.parsed.errors.is_empty() => Err(vec![ParseError::of_input(origin, Problem::NotOneObject)]),
        // There is no file, and so no line.
        _ => Err(reader.parsed.errors.into_iter().map(|error| ParseError { line: None, ..error }).collect()),
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > MAX_INPUT {
        return Err(Problem::TooLarge { bytes: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Problem::NotUtf8 { offset: error.valid_up_to() })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Whether a text that could not be read may be a Secret. It errs on the side of yes.
fn may_hold_secret(text: &str) -> bool {
    let has_data = || text.match_indices("data").any(|(at, _)| !text[..at].ends_with("meta")) || text.contains("stringData");
    text.contains("Secret") && has_data()
}

/// Receiver of documents from the readers of YAML and JSON.
struct Reader<'a> {
    origin: &'a str,
    namespace: &'a NamespaceName,
    /// Whether [`Parsed::undecodable`] is wanted, which costs a copy of every object.
    keeps_undecodable: bool,
    parsed: Parsed,
}

impl Reader<'_> {
    /// Keeps an error; the last of too many says that there are more.
    fn fail(&mut self, error: ParseError) {
        match self.parsed.errors.len() {
            count if count + 1 < MAX_ERRORS => self.parsed.errors.push(error),
            count if count + 1 == MAX_ERRORS => {
                self.parsed.errors.push(ParseError::of_input(self.origin, Problem::TooManyErrors));
            }
            _ => {}
        }
    }

    /// Whether there is room for another object; says so once when there is none.
    fn has_room(&mut self) -> bool {
        let room = self.parsed.objects.len() + self.parsed.foreign.len() < MAX_OBJECTS && self.parsed.errors.len() < MAX_ERRORS;
        if !room && self.parsed.errors.last().is_none_or(|error| error.problem != Problem::TooManyObjects) {
            self.fail(ParseError::of_input(self.origin, Problem::TooManyObjects));
        }
        room
    }
}
