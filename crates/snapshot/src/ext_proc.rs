//! External processing: a server that sees requests and responses, and may change them or answer itself.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::ClusterKey;

/// An external processor.
#[derive(Clone, Debug)]
pub struct ExtProc {
    /// The policy and the place in it: a request passes no processor twice.
    pub name: Box<str>,
    /// Its clusters, by weight. One without a cluster is never there: the rule is closed then, or passes without the processor.
    pub backends: Box<[(u32, ClusterKey)]>,
    /// The name by which it is asked.
    pub authority: HeaderValue,
    /// Parts of requests that it gets; `None` for none.
    pub request: Option<ProcessedParts>,
    /// Parts of responses that it gets; `None` for none.
    pub response: Option<ProcessedParts>,
    /// Whether it may choose other parts.
    pub allow_mode_override: bool,
    /// Time for each of its answers.
    pub message_timeout: Duration,
    /// Whether requests and responses pass where it fails.
    pub fail_open: bool,
    /// Whether it only watches: nothing waits for it, and its answers count for nothing. Bodies are streamed then, or not sent.
    pub shadow_mode: bool,
    /// Status for clients where it fails. Where it is late: 504.
    pub status_on_error: StatusCode,
    /// Namespaces of the request's metadata that it gets.
    pub accessible_namespaces: Box<[Box<str>]>,
    /// Namespaces of the request's metadata that it may write.
    pub writable_namespaces: Box<[Box<str>]>,
}

/// Parts of a message that a processor gets beside the headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessedParts {
    /// How it gets the body.
    pub body: BodyProcessing,
    /// Envoy's attributes that go with the first message.
    pub attributes: Box<[Box<str>]>,
}

/// How a processor gets a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyProcessing {
    /// Not at all.
    #[default]
    None,
    /// In pieces, each of which it answers.
    Streamed,
    /// As one; a longer body than `bufferLimit` is refused.
    Buffered,
    /// As one up to `bufferLimit`; the rest goes on without it.
    BufferedPartial,
    /// In pieces, while a body of its own comes back. Trailers are sent, too.
    FullDuplexStreamed,
}
