//! Tokens of texts between added tokens. A chat template puts such tokens around each message, so that the messages of a
//! conversation are tokenized once, however often it comes again.

use std::{collections::HashMap, mem, sync::Arc};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Most memory of the tokens kept, in bytes.
const MAX_BYTES: usize = 32 << 20;
/// Most memory of one text's tokens: those of longer ones would push out many others.
const MAX_ENTRY_BYTES: usize = MAX_BYTES / 16;
/// Bytes that an entry counts as beside its tokens.
const OVERHEAD: usize = 128;
/// Shortest text that is kept, in bytes: to tokenize a shorter one takes no longer than to find it.
const MIN_TEXT_BYTES: usize = 64;

/// Tokens by the hash of their text, in two generations. A text that is found in the older moves to the younger, which becomes the
/// older once it has half of the memory: what was not found meanwhile goes, all at once, and not under the lock.
pub(crate) struct SegmentCache {
    /// Of the hashes: clients choose the texts.
    seed: u64,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    tokens: HashMap<u128, Arc<[u32]>, RandomState>,
    bytes: usize,
}

impl SegmentCache {
    pub(crate) fn new() -> Self {
        use std::hash::BuildHasher as _;
        Self { seed: RandomState::default().hash_one(0), entries: Mutex::default() }
    }

    /// Appends the tokens of a text, which `tokenize` gives if they are not known, and whether it gave all. `starts` tells texts at
    /// the beginning of a prompt from others: some tokenizers do.
    pub(crate) fn append(&self, text: &str, starts: bool, tokens: &mut Vec<u32>, tokenize: impl FnOnce(&mut Vec<u32>) -> bool) {
        if text.len() < MIN_TEXT_BYTES {
            tokenize(tokens);
            return;
        }
        let key = xxh3_128_with_seed(text.as_bytes(), self.seed ^ u64::from(starts));
        let (known, gone) = self.entries.lock().find(key);
        drop(gone);
        if let Some(known) = known {
            return tokens.extend_from_slice(&known);
        }
        let before = tokens.len();
        let has_all = tokenize(tokens);
        let new = &tokens[before..];
        if has_all && memory(new) <= MAX_ENTRY_BYTES {
            let new = new.into();
            let gone = self.entries.lock().insert(key, new);
            drop(gone);
        }
    }

    /// Memory that its tokens take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let entries = self.entries.lock();
        entries.young.bytes + entries.old.bytes
    }
}

impl Entries {
    /// The tokens of a key, and those that go for them.
    fn find(&mut self, key: u128) -> (Option<Arc<[u32]>>, Option<Generation>) {
        if let Some(tokens) = self.young.tokens.get(&key) {
            return (Some(Arc::clone(tokens)), None);
        }
        let Some(tokens) = self.old.tokens.remove(&key) else { return (None, None) };
        self.old.bytes -= memory(&tokens);
        let gone = self.insert(key, Arc::clone(&tokens));
        (Some(tokens), gone)
    }

    /// Keeps tokens, and gives those that go for them.
    fn insert(&mut self, key: u128, tokens: Arc<[u32]>) -> Option<Generation> {
        let size = memory(&tokens);
        let is_full = self.young.bytes + size > MAX_BYTES / 2;
        let gone = is_full.then(|| mem::replace(&mut self.old, mem::take(&mut self.young)));
        self.young.bytes += size;
        if let Some(same) = self.young.tokens.insert(key, tokens) {
            self.young.bytes -= memory(&same);
        }
        gone
    }
}

fn memory(tokens: &[u32]) -> usize {
    size_of_val(tokens) + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of a text with this number, so many of them. Gives whether they were made.
    fn is_made(cache: &SegmentCache, number: u32, starts: bool, length: usize) -> bool {
        let (mut tokens, mut is_made) = (vec![9], false);
        cache.append(&format!("{number:0100}"), starts, &mut tokens, |tokens| {
            is_made = true;
            tokens.extend(vec![number; length]);
            true
        });
        assert_eq!((&tokens[..2], tokens.len()), (&[9, number][..], length + 1));
        assert!(cache.bytes() <= MAX_BYTES);
        is_made
    }

    #[test]
    fn texts_are_tokenized_once_and_the_bound_holds() {
        let cache = SegmentCache::new();
        let made = [(1, true), (1, true), (1, false), (2, true)].map(|(number, starts)| is_made(&cache, number, starts, 10));
        assert_eq!(made, [true, false, true, true]);
        let sixteenth = (MAX_ENTRY_BYTES - OVERHEAD) / size_of::<u32>();
        for number in 100..200 {
            assert!(is_made(&cache, number, true, sixteenth));
            assert!(!is_made(&cache, 1, true, 10), "what is used stays");
        }
        assert!(is_made(&cache, 2, true, 10) && is_made(&cache, 100, true, sixteenth), "what is not goes");
    }

    /// One long prompt had emptied all of it.
    #[test]
    fn a_long_text_pushes_nothing_out() {
        let cache = SegmentCache::new();
        assert!(is_made(&cache, 1, true, 10));
        for number in 2..40 {
            assert!(is_made(&cache, number, true, MAX_ENTRY_BYTES / size_of::<u32>()));
        }
        assert!(!is_made(&cache, 1, true, 10));
    }

    #[test]
    fn a_part_of_the_tokens_is_not_kept() {
        let cache = SegmentCache::new();
        cache.append(&"a".repeat(100), true, &mut Vec::new(), |_| false);
        assert_eq!(cache.bytes(), 0);
    }
}
