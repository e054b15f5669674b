//! HTTP/1.1 without IO (RFC 9112): bytes in, messages out, and back.
//!
//! - Reading: [`request::Heads`] and [`response::Heads`] take heads off a buffer that the caller fills, and say how each body ends; a
//!   [`Framing`] takes the body.
//! - Writing: [`Writer`] puts a head and a body's frames together for as few writes as can be.
//!
//! A message that two recipients might read differently is refused.

mod fields;
mod framing;
mod malformed;
mod memory;
mod reason;
pub mod request;
pub mod response;
mod writer;

pub use fields::{MAX_FIELDS, has_token, is_chunked_only};
pub use framing::{Chunked, Framing};
pub use malformed::Malformed;
pub use reason::ReasonPhrase;
pub use writer::{End, Writer, field, room_for, trailers_announced};

/// Bound on a message's head, in bytes.
pub const MAX_HEAD: usize = 64 << 10;
