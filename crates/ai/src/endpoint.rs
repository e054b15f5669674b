//! Model API of a request path.
//!
//! The end of a path tells APIs apart, because services put prefixes of their own in front: `/compatible-mode/v1/…`,
//! `/openai/deployments/<name>/…`.

use std::fmt;

use crate::{
    multipart::{self, FormError},
    scan::{Scan, ScanError, scan},
};

/// An API of a model server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI `chat/completions`.
    ChatCompletions,
    /// OpenAI `completions`.
    Completions,
    /// OpenAI `responses`.
    Responses,
    /// OpenAI `embeddings`.
    Embeddings,
    /// OpenAI `moderations`.
    Moderations,
    /// Jina and Cohere `rerank`, in version 1, 2 or none.
    Rerank,
    /// vLLM `score`.
    Score,
    /// vLLM `tokenize`.
    Tokenize,
    /// vLLM `detokenize`.
    Detokenize,
    /// vLLM `classify`.
    Classify,
    /// vLLM `pooling`.
    Pooling,
    /// vLLM `inference/v1/generate`: tokens in, tokens out.
    Generate,
    /// OpenAI `audio/transcriptions`: a form.
    Transcriptions,
    /// OpenAI `audio/translations`: a form.
    Translations,
    /// OpenAI `audio/speech`.
    Speech,
    /// OpenAI `images/generations`.
    ImageGenerations,
    /// OpenAI `images/edits` and `images/variations`: a form.
    ImageEdits,
    /// Anthropic `v1/messages`.
    Messages,
    /// Anthropic `v1/messages/count_tokens`.
    CountTokens,
    /// The list of models, or one of it: names no model in a body.
    Models,
    /// Objects that a service keeps: files, batches, responses. Requests about them name no model.
    Stored,
}

/// Collections of objects that OpenAI's and Anthropic's services keep.
const COLLECTIONS: [&str; 10] =
    ["files", "uploads", "batches", "vector_stores", "conversations", "containers", "threads", "fine_tuning", "evals", "videos"];

/// The shape in which an API tells errors and usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI, and all that imitate it.
    OpenAi,
    /// OpenAI's Responses API: errors as OpenAI's, events of its own.
    Responses,
    /// Anthropic.
    Anthropic,
}

/// How a request body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// JSON: `scan::scan` reads it.
    Json,
    /// `multipart/form-data`: `multipart::scan` reads it.
    Multipart,
}

/// Why a body cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// As JSON.
    Json(ScanError),
    /// As a form.
    Form(FormError),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => error.fmt(f),
            Self::Form(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {}

impl From<ScanError> for BodyError {
    fn from(error: ScanError) -> Self {
        Self::Json(error)
    }
}

impl From<FormError> for BodyError {
    fn from(error: FormError) -> Self {
        Self::Form(error)
    }
}

impl Api {
    /// The API that `path` belongs to. A query string is ignored, and so is a slash at the end.
    pub fn from_path(path: &str) -> Option<Self> {
        let path = memchr::memchr(b'?', path.as_bytes()).map_or(path, |query| &path[..query]);
        let (before, last) = last_segment(path.trim_end_matches('/'));
        let (before, parent) = last_segment(before);
        Some(match (parent, last) {
            ("chat", "completions") => Self::ChatCompletions,
            (_, "completions") => Self::Completions,
            (_, "responses") => Self::Responses,
            (_, "embeddings") => Self::Embeddings,
            (_, "moderations") => Self::Moderations,
            (_, "rerank") => Self::Rerank,
            (_, "score") => Self::Score,
            (_, "tokenize") => Self::Tokenize,
            (_, "detokenize") => Self::Detokenize,
            (_, "classify") => Self::Classify,
            (_, "pooling") => Self::Pooling,
            (version, "generate") if last_segment(before).1 == "inference" && is_version(version) => Self::Generate,
            ("audio", "transcriptions") => Self::Transcriptions,
            ("audio", "translations") => Self::Translations,
            ("audio", "speech") => Self::Speech,
            ("images", "generations") => Self::ImageGenerations,
            ("images", "edits" | "variations") => Self::ImageEdits,
            // Other APIs have messages too (OpenAI's threads), so the version must stand right before.
            (version, "messages") if is_version(version) => Self::Messages,
            ("messages", "count_tokens") if is_version(last_segment(before).1) => Self::CountTokens,
            (_, "models") => Self::Models,
            _ => return Self::of_object(path),
        })
    }

    /// The operation in OpenTelemetry's conventions for generative AI (`gen_ai.operation.name`), where they have one.
    pub fn operation(self) -> Option<&'static str> {
        match self {
            Self::ChatCompletions | Self::Responses | Self::Messages => Some("chat"),
            Self::Completions | Self::Generate => Some("text_completion"),
            Self::Embeddings => Some("embeddings"),
            _ => None,
        }
    }

    /// The provider whose API it is, by the same conventions (`gen_ai.provider.name`). Servers of any operator speak it.
    pub fn provider(self) -> &'static str {
        match self.dialect() {
            Dialect::Anthropic => "anthropic",
            Dialect::OpenAi | Dialect::Responses => "openai",
        }
    }

    /// The API of a path that goes on behind the collection's name.
    fn of_object(path: &str) -> Option<Self> {
        let mut segments = path.split('/').skip_while(|segment| !is_version(segment)).skip(1);
        let mut next = || segments.next().filter(|segment| !segment.is_empty());
        match (next()?, next(), next()) {
            // Names have slashes.
            ("models", Some(_), _) => Some(Self::Models),
            ("responses", Some("input_tokens" | "compact"), _) => None,
            ("responses", Some(_), _) | ("messages", Some("batches"), _) | ("chat", Some("completions"), Some(_)) => {
                Some(Self::Stored)
            }
            (collection, ..) => COLLECTIONS.contains(&collection).then_some(Self::Stored),
        }
    }

    /// The shape of this API's errors and events.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::Responses => Dialect::Responses,
            _ => Dialect::OpenAi,
        }
    }

    /// Whether a request to this API names its model in the body.
    pub fn names_model(self) -> bool {
        !matches!(self, Self::Models | Self::Stored)
    }
}

impl BodyKind {
    /// Scans a whole body of this kind. `content_type` is the body's own.
    ///
    /// # Errors
    /// Says why the body cannot be understood.
    pub fn scan(self, content_type: Option<&str>, body: &[u8]) -> Result<Scan, BodyError> {
        match self {
            Self::Json => Ok(scan(body)?),
            Self::Multipart => Ok(multipart::scan(content_type.unwrap_or_default(), body)?),
        }
    }

    /// Kind of a body with this content type; `None` for one that cannot name a model. A body without a type, or with the one
    /// that `curl -d` adds, counts as JSON: engines do so too.
    pub fn from_content_type(content_type: Option<&str>) -> Option<Self> {
        let Some(value) = content_type else {
            return Some(Self::Json);
        };
        if value == "application/json" {
            return Some(Self::Json);
        }
        let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match essence.as_str() {
            "multipart/form-data" => Some(Self::Multipart),
            "" | "application/json" | "text/json" | "text/plain" | "application/x-www-form-urlencoded" => Some(Self::Json),
            other if other.ends_with("+json") => Some(Self::Json),
            _ => None,
        }
    }
}

/// Whether a request is to a model: its path is that of an API whose body names one, and its body can.
pub fn is_model_call(path: &str, content_type: Option<&str>) -> bool {
    Api::from_path(path).is_some_and(Api::names_model) && BodyKind::from_content_type(content_type).is_some()
}

/// The text before the last slash, and after it.
fn last_segment(path: &str) -> (&str, &str) {
    memchr::memrchr(b'/', path.as_bytes()).map_or(("", path), |slash| (&path[..slash], &path[slash + 1..]))
}

fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart_by_their_end() {
        let cases = [
            ("/v1/chat/completions", Some(Api::ChatCompletions)),
            ("/compatible-mode/v1/chat/completions?x=/v1/models", Some(Api::ChatCompletions)),
            ("/models/qwen/v1/chat/completions/", Some(Api::ChatCompletions)),
            ("/v1/completions", Some(Api::Completions)),
            ("/openai/responses", Some(Api::Responses)),
            ("/rerank", Some(Api::Rerank)),
            ("/v2/rerank", Some(Api::Rerank)),
            ("/v1/audio/transcriptions", Some(Api::Transcriptions)),
            ("/anthropic/v1/messages", Some(Api::Messages)),
            ("/v1/messages/count_tokens", Some(Api::CountTokens)),
            ("/v1/threads/t1/messages", Some(Api::Stored)),
            ("/v1/models", Some(Api::Models)),
            ("/v1/models/qwen", Some(Api::Models)),
            ("/v1/models/org/qwen", Some(Api::Models)),
            ("/v1/responses/resp_1", Some(Api::Stored)),
            ("/v1/responses/resp_1/input_items", Some(Api::Stored)),
            ("/v1/responses/input_tokens", None),
            ("/v1/files", Some(Api::Stored)),
            ("/openai/v1/files/f1/content?x=1", Some(Api::Stored)),
            ("/v1/messages/batches/b1/results", Some(Api::Stored)),
            ("/v1/chat/completions/c1", Some(Api::Stored)),
            ("/inference/v1/generate", Some(Api::Generate)),
            ("/generate", None),
            ("/v1/generate", None),
            ("/files/v1/report", None),
            ("/tokenizer", None),
            ("/", None),
            ("", None),
        ];
        for (path, api) in cases {
            assert_eq!(Api::from_path(path), api, "{path}");
        }
    }

    #[test]
    fn a_model_call_needs_a_readable_body() {
        let chat = "/v1/chat/completions";
        assert!(is_model_call(chat, Some("Application/JSON; charset=utf-8")));
        assert!(is_model_call(chat, None));
        assert!(is_model_call("/v1/audio/transcriptions", Some("multipart/form-data; boundary=b")));
        assert!(!is_model_call(chat, Some("application/grpc")));
        assert!(!is_model_call("/v1/models", None));
        assert!(!is_model_call("/v1/files", Some("multipart/form-data; boundary=b")));
        assert!(!is_model_call("/healthz", Some("application/json")));
    }
}
