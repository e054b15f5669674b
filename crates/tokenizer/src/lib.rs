//! Tokens of prompts, from a model's own files: `tokenizer.json` and its chat template.
//!
//! [`ModelTokenizer`] takes the body of vLLM's `POST /tokenize` and gives the tokens that an engine with the same files would. Nothing is
//! downloaded. Files that ask for more than is understood here are refused by name, and an engine is to be asked instead. In reading order:
//!
//! - `files`: the files, from a directory or from bytes;
//! - `tokenizer`: a text to tokens: added tokens, normalizer, pre-tokenizer, byte pairs, special tokens;
//! - `segment_cache`: texts between added tokens, whose tokens are remembered: a conversation that grows is tokenized once;
//! - `template`: the chat template, within bounds; `chat`: messages as engines hand them to it;
//! - `tokenizer_class`: special tokens where versions of `transformers` differ;
//! - `model`: all of it.

mod chat;
mod error;
mod files;
mod model;
mod segment_cache;
mod template;
mod tokenizer;
mod tokenizer_class;

pub use self::error::{FileError, PromptError};
pub use self::files::ModelFiles;
pub use self::model::ModelTokenizer;
pub use self::template::{RenderLength, Template};
pub use self::tokenizer::Tokenizer;
