//! Prompts that this process tokenizes too slowly for their requests.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Late tokens in a row after which tokens are expected to be late.
const MAX_LATE: u32 = 2;
/// Time between tries with prompts whose tokens are expected to be late, and of no use to later requests.
const TRY_INTERVAL: Duration = Duration::from_secs(1);
/// Most kinds that are remembered.
const MAX_KINDS: usize = 1024;

/// Prompts that take about as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PromptKind {
    model: u64,
    is_chat: bool,
    /// Logarithm of the length in bytes.
    size: u32,
}

/// Way to deal with a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    InTime,
    /// Late, unless most of it is remembered.
    Late,
    /// Late, and nobody is helped by it.
    Useless,
}

/// Late tokens in a row by kind, and the time of the last try.
#[derive(Debug, Default)]
pub(super) struct LateSizes(HashMap<PromptKind, (u32, Instant)>);

impl PromptKind {
    pub(super) fn new(model: u64, is_chat: bool, bytes: usize) -> Self {
        Self { model, is_chat, size: bytes.max(1).ilog2() }
    }
}

impl LateSizes {
    /// The expectation of a prompt. A chat's messages are remembered, a completion is one text each time.
    pub(super) fn expect(&self, kind: PromptKind, now: Instant) -> Expectation {
        match self.0.get(&kind) {
            Some((late, _)) if *late < MAX_LATE => Expectation::InTime,
            None => Expectation::InTime,
            Some((_, tried)) if kind.is_chat || now.saturating_duration_since(*tried) >= TRY_INTERVAL => Expectation::Late,
            Some(_) => Expectation::Useless,
        }
    }

    /// Takes that a prompt is about to be tokenized, whatever the expectation: the next try with its like is later.
    pub(super) fn begun(&mut self, kind: PromptKind, now: Instant) {
        if let Some((_, tried)) = self.0.get_mut(&kind) {
            *tried = now;
        }
    }

    /// Takes whether the tokens of a prompt were late.
    pub(super) fn ended(&mut self, kind: PromptKind, is_late: bool, now: Instant) {
        if !is_late {
            self.0.remove(&kind);
            return;
        }
        if self.0.len() >= MAX_KINDS && !self.0.contains_key(&kind) {
            self.0.clear();
        }
        let (late, tried) = self.0.entry(kind).or_insert((0, now));
        (*late, *tried) = (late.saturating_add(1), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_prompts_in_a_row_are_expected_until_one_is_in_time() {
        let (mut sizes, start) = (LateSizes::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let kind = |bytes, is_chat| PromptKind::new(7, is_chat, bytes);
        let (completion, chat) = (kind(600_000, false), kind(600_000, true));
        sizes.ended(completion, true, at(0));
        assert_eq!(sizes.expect(completion, at(0)), Expectation::InTime);
        (0..2).for_each(|_| [completion, chat].iter().for_each(|kind| sizes.ended(*kind, true, at(0))));
        assert_eq!(sizes.expect(kind(700_000, false), at(999)), Expectation::Useless, "it is about as long");
        assert_eq!(sizes.expect(chat, at(999)), Expectation::Late);
        assert_eq!(sizes.expect(kind(100_000, false), at(0)), Expectation::InTime);
        assert_eq!([1000, 1000].map(|millis| sizes.expect(completion, at(millis))), [Expectation::Late; 2], "it is not begun");
        sizes.begun(completion, at(1000));
        assert_eq!(sizes.expect(completion, at(1001)), Expectation::Useless, "one try at a time");
        sizes.ended(completion, false, at(1001));
        assert_eq!(sizes.expect(completion, at(1001)), Expectation::InTime);
    }

    #[test]
    fn kinds_are_bounded() {
        let (mut sizes, now) = (LateSizes::default(), Instant::now());
        (0..5000).for_each(|model| sizes.ended(PromptKind::new(model, true, 9), true, now));
        assert!(sizes.0.len() <= MAX_KINDS);
    }
}
