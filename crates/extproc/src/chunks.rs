//! Pieces of a body, as long as messages may be.

use bytes::Bytes;

use crate::names::MAX_CHUNK;

/// A piece in pieces that fit into one message each.
pub(crate) fn chunks(piece: &Bytes) -> impl Iterator<Item = Bytes> {
    (0..piece.len()).step_by(MAX_CHUNK).map(|start| piece.slice(start..piece.len().min(start + MAX_CHUNK)))
}
