//! HTTP/1.1 on the wire (RFC 9112), as clients and backends speak it alike: heads' fields, bodies as they come, messages on their way
//! out.

mod fields;
mod framing;
mod malformed;
mod memory;
mod wire;
mod writer;

pub(crate) use fields::{MAX_FIELDS, Spans, content_length, ends_chunked, fields, is_chunked_alone, says, spans};
pub(crate) use framing::Framing;
pub use malformed::Malformed;
pub(crate) use memory::{Alike, Memory};
pub(crate) use wire::Wire;
pub(crate) use writer::{End, Writer, field, room_for, trailers_announced};

/// Bound on a message's head, in bytes.
pub(crate) const MAX_HEAD: usize = 64 << 10;
