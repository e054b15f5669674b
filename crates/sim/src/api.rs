//! The endpoints, a file for each API.

pub(crate) mod audio;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod control;
pub(crate) mod echo;
pub(crate) mod embeddings;
pub(crate) mod generate;
pub(crate) mod images;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod rerank;
pub(crate) mod responses;
pub(crate) mod tokens;
