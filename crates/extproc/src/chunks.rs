//! Pieces of a body, as long as messages may be.

use bytes::Bytes;

use crate::names::MAX_CHUNK;

/// A piece in pieces that fit into one message each.
pub(crate) fn chunks(piece: &Bytes) -> impl Iterator<Item = Bytes> {
    (0..piece.len()).step_by(MAX_CHUNK).map(|start| piece.slice(start..piece.len().min(start + MAX_CHUNK)))
}

/// The same, each with whether it ends the body; `is_last`: the piece does.
pub(crate) fn chunks_to_end(piece: &Bytes, is_last: bool) -> impl Iterator<Item = (Bytes, bool)> {
    let count = piece.len().div_ceil(MAX_CHUNK);
    chunks(piece).enumerate().map(move |(place, chunk)| (chunk, is_last && place + 1 == count))
}
