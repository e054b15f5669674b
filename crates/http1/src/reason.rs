//! The reason of a status line.

use bytes::Bytes;

/// A response's reason phrase, where it is not the one that its status has by default. An extension of [`http::response::Parts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonPhrase(Bytes);

impl ReasonPhrase {
    /// A phrase that the head's parser has found valid.
    pub(crate) fn copied(phrase: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(phrase))
    }

    /// The phrase as it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
