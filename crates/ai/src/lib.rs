//! Dialects of model APIs: bytes in, bytes out.
//!
//! This crate knows requests to model servers and their responses, and nothing of Kubernetes, HTTP stacks or async runtimes. It
//! never builds a document tree: it finds values in one pass, and splices changes in between the client's own bytes.
//!
//! On the way in:
//! - [`endpoint`]: the API of a request path, and the dialect of its errors;
//! - [`content_coding`]: a compressed body, decoded in steps and within bounds;
//! - [`mod@scan`]: `model`, `stream`, token limits and the prompt's place in a JSON body;
//! - [`multipart`]: the same for `multipart/form-data` (audio transcription);
//! - [`prompt_question`]: the prompt of a body as an engine's tokenizer is asked for its tokens;
//! - [`mod@splice`]: a body with some spans replaced, as pieces of the original;
//! - [`members`]: members of the outermost object, found or set;
//! - [`transfer`]: members by which engines hand KV cache over, taken out.
//!
//! On the way out:
//! - [`sse`]: events out of a byte stream cut anywhere;
//! - [`usage`]: token counts, the first content, the end and the errors of a response, read as it passes;
//! - [`cached_tokens`]: the number of cached tokens in a response, changed as it passes;
//! - [`mod@rename`]: the model's name in a response, changed as it passes;
//! - [`error`]: error bodies and error events in each dialect.
//!
//! Private modules below these: `document`, a strict incremental reader of JSON, with `json`, its tokens; `walk`, a lenient
//! reader of a body in chunks, with `response_key`, the names it knows; and `event_cache`, which spares it events without news.

pub mod cached_tokens;
pub mod content_coding;
mod document;
pub mod endpoint;
pub mod error;
mod event_cache;
mod json;
pub mod members;
mod message_parts;
pub mod multipart;
mod output_limits;
pub mod prompt_question;
pub mod rename;
mod response_key;
pub mod scan;
pub mod splice;
pub mod sse;
pub mod transfer;
pub mod usage;
pub mod usage_chunk;
mod walk;
mod whole_answer;

pub use cached_tokens::CachedTokens;
pub use endpoint::{Api, BodyError, BodyKind, Dialect, is_model_call};
pub use error::ErrorBody;
pub use members::{Member, first_object, member, member_edits};
pub use multipart::FormError;
pub use prompt_question::PromptQuestion;
pub use rename::ModelRename;
pub use scan::{Scan, ScanError, Scanner, scan};
pub use splice::{Edit, Pieces, splice, splice_model};
pub use transfer::{asks_one_answer, can_transfer, transfer_edits};
pub use usage::{Progress, ResponseReader, Usage};
pub use usage_chunk::UsageStrip;
