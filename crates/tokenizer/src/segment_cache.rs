//! Tokens of texts between added tokens. A chat template puts such tokens around each message, so that the messages of a conversation are
//! tokenized once, however often it comes again.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Most memory of the tokens kept, in bytes.
const MAX_BYTES: usize = 32 << 20;
/// Bytes that an entry counts as beside its tokens.
const OVERHEAD: usize = 128;
/// Shortest text that is kept, in bytes: to tokenize a shorter one takes no longer than to find it.
const MIN_TEXT_BYTES: usize = 64;
/// Most entries that stay because they were used, for each new one: the lock is held meanwhile.
const MAX_SECOND_CHANCES: u32 = 16;

/// Tokens by the hash of their text. The oldest go first, unless they were used since they were last looked at.
pub(crate) struct SegmentCache {
    /// Of the hashes: clients choose the texts.
    seed: u64,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    tokens: HashMap<u128, (Arc<[u32]>, bool), RandomState>,
    order: VecDeque<u128>,
    bytes: usize,
}

impl SegmentCache {
    pub(crate) fn new() -> Self {
        use std::hash::BuildHasher as _;
        Self { seed: RandomState::default().hash_one(0), entries: Mutex::default() }
    }

    /// Appends the tokens of a text, which `tokenize` gives if they are not known. `starts` tells texts at the beginning of a prompt from others:
    /// some tokenizers do.
    pub(crate) fn append(&self, text: &str, starts: bool, tokens: &mut Vec<u32>, tokenize: impl FnOnce(&mut Vec<u32>)) {
        if text.len() < MIN_TEXT_BYTES {
            return tokenize(tokens);
        }
        let key = xxh3_128_with_seed(text.as_bytes(), self.seed ^ u64::from(starts));
        let known = self.entries.lock().find(key);
        if let Some(known) = known {
            return tokens.extend_from_slice(&known);
        }
        let before = tokens.len();
        tokenize(tokens);
        self.entries.lock().insert(key, tokens[before..].into());
    }

    /// Memory that its tokens take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.lock().bytes
    }
}

impl Entries {
    fn find(&mut self, key: u128) -> Option<Arc<[u32]>> {
        let (tokens, was_used) = self.tokens.get_mut(&key)?;
        *was_used = true;
        Some(Arc::clone(tokens))
    }

    fn insert(&mut self, key: u128, tokens: Arc<[u32]>) {
        let size = memory(&tokens);
        if size > MAX_BYTES || self.tokens.contains_key(&key) {
            return;
        }
        let mut chances = 0;
        while self.bytes + size > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            match self.tokens.get_mut(&oldest) {
                Some((_, was_used)) if *was_used && chances < MAX_SECOND_CHANCES => {
                    chances += 1;
                    *was_used = false;
                    self.order.push_back(oldest);
                }
                Some(_) => {
                    let gone = self.tokens.remove(&oldest);
                    self.bytes -= gone.map_or(0, |(tokens, _)| memory(&tokens));
                }
                None => {}
            }
        }
        self.bytes += size;
        self.tokens.insert(key, (tokens, false));
        self.order.push_back(key);
    }
}

fn memory(tokens: &Arc<[u32]>) -> usize {
    tokens.len() * size_of::<u32>() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_tokenized_once_and_the_bound_holds() {
        let cache = SegmentCache::new();
        let text = |number: u32| format!("{number:0100}");
        let mut made = 0;
        let mut ask = |number, starts, length: usize| {
            let mut tokens = vec![9];
            cache.append(&text(number), starts, &mut tokens, |tokens| {
                made += 1;
                tokens.extend(vec![number; length]);
            });
            assert_eq!(tokens[..2], [9, number]);
            made
        };
        assert_eq!([ask(1, true, 10), ask(1, true, 10), ask(1, false, 10), ask(2, true, 10)], [1, 1, 2, 3]);
        let quarter = MAX_BYTES / 16;
        let before = ask(100, true, quarter);
        assert_eq!(ask(100, true, quarter), before);
        for number in 101..110 {
            ask(number, true, quarter);
            ask(100, true, quarter);
        }
        assert_eq!(ask(100, true, quarter), before + 9, "what is used stays");
        assert_eq!(ask(101, true, quarter), before + 10, "what is not goes");
        assert!(cache.bytes() <= MAX_BYTES);
    }
}
