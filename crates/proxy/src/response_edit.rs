//! Changes to a response's body as it passes: the client's name for the model, no usage that the client did not ask for, and the cached tokens
//! of a prefill elsewhere.

use bytes::Bytes;
use pailou_ai::{CachedTokens, ModelRename, UsageStrip};

/// Changes to one response. What has to wait for more is bounded by each.
#[derive(Debug, Default)]
pub(crate) struct ResponseEdit {
    pub(crate) rename: Option<ModelRename>,
    pub(crate) strip: Option<UsageStrip>,
    pub(crate) cached_tokens: Option<CachedTokens>,
}

impl ResponseEdit {
    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.rename.is_none() && self.strip.is_none() && self.cached_tokens.is_none()
    }

    /// The next piece, changed. It may be empty, where all of it has to wait; nothing waits beyond the last.
    pub(crate) fn feed(&mut self, piece: &Bytes, is_last: bool) -> Bytes {
        let piece = self.cached_tokens.as_mut().map_or_else(|| piece.clone(), |cached| cached.feed(piece));
        let piece = self.rename.as_mut().map_or_else(|| piece.clone(), |rename| rename.feed(&piece, is_last));
        match &mut self.strip {
            Some(strip) => strip.feed(&piece, is_last),
            None => piece,
        }
    }

    /// Gives up what waits at the response's end.
    pub(crate) fn finish(&mut self) -> Bytes {
        let rest = self.rename.as_mut().map(ModelRename::finish).unwrap_or_default();
        match &mut self.strip {
            Some(strip) => strip.feed(&rest, true),
            None => rest,
        }
    }
}
