//! Names of LoRA adapters: what tells them from models.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

/// Most names. Beyond it, an adapter is taken for a model.
const MAX_NAMES: usize = 4096;

/// Adapters that blocks were stored of, by the hashes of their names.
#[derive(Debug, Default)]
pub(super) struct Adapters {
    names: BTreeSet<u64>,
    /// The last one: events of one adapter come in rows.
    last: Option<u64>,
}

impl Adapters {
    pub(super) fn note(&mut self, name: &[u8]) {
        let name = xxh3_64(name);
        if self.last != Some(name) && (self.names.len() < MAX_NAMES || self.names.contains(&name)) {
            self.names.insert(name);
            self.last = Some(name);
        }
    }

    pub(super) fn has(&self, name: &[u8]) -> bool {
        !self.names.is_empty() && self.names.contains(&xxh3_64(name))
    }
}
