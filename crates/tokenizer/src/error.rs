//! Reasons why there are no tokens.

use thiserror::Error;

/// A model's file that is of no use.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FileError {
    /// There is none.
    #[error("{0}: no such file; give the one of the model's repository")]
    Missing(&'static str),
    /// It cannot be read.
    #[error("{0}: {1}")]
    Unreadable(&'static str, String),
    /// It is longer than is read.
    #[error("{0}: longer than {1} MiB")]
    TooLong(&'static str, usize),
    /// Its chat template is longer than is read.
    #[error("{0}: chat_template: longer than {1} MiB")]
    LongTemplate(&'static str, usize),
    /// It is not what its name says.
    #[error("{0}: {1}")]
    Malformed(&'static str, String),
    /// It asks for something else than is done here.
    #[error("{file}: {field}: {what} is not supported; leave the files away, and engines are asked for tokens")]
    Unsupported {
        /// The file.
        file: &'static str,
        /// Path of the field.
        field: String,
        /// Its value.
        what: String,
    },
}

/// A prompt without tokens.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PromptError {
    /// The files have no chat template.
    #[error("the model's files have no chat template")]
    NoTemplate,
    /// The text, or the question, is longer than is tokenized here, or the question has more objects and lists than are read here.
    #[error("the prompt is longer than is tokenized here: 1 MiB of text, 32768 objects and lists")]
    TooLong,
    /// The request asks for something that only the engine does: another template, a message to be continued, images.
    #[error("the request has {0}, which the engine alone understands")]
    Unsupported(&'static str),
    /// The template refuses it, or goes beyond its bounds.
    #[error("the chat template: {0}")]
    Template(String),
    /// It is not a request for tokens.
    #[error("the request is malformed: {0}")]
    Malformed(String),
}
