//! Prompts that picks have just sent somewhere: the engine tells of their blocks once it has computed them, and until then a burst of one
//! new prefix is to stay together.
//!
//! An entry counts for 2 s. Picks drop those that are older; no timer does.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::tokens::PromptTokens;

/// How long a prompt is expected to be cached where it was sent.
const TTL: Duration = Duration::from_secs(2);
/// Most entries, and most memory of all together, in tokens of 4 bytes (16 MiB, shared with remembered answers as long as those last).
const MAX_ENTRIES: usize = 512;
const MAX_COST: usize = 4 << 20;
/// Tokens that a prefix is expected in steps of: of a block.
const STEP: usize = 16;

/// Recent picks, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Speculations {
    entries: VecDeque<Speculation>,
    cost: usize,
}

#[derive(Debug)]
struct Speculation {
    until: Instant,
    slot: u16,
    prompt: PromptTokens,
}

impl Speculations {
    /// Tells for each endpoint how much of a prompt it was sent before.
    pub(crate) fn expect_tokens(&mut self, prompt: &PromptTokens, now: Instant, mut expect: impl FnMut(u16, u32)) {
        self.expire(now);
        let mut longest: Vec<(u16, usize)> = Vec::new();
        for entry in &self.entries {
            if !entry.prompt.shares_cache_with(prompt) {
                continue;
            }
            let place = longest.iter().position(|(slot, _)| *slot == entry.slot).unwrap_or_else(|| {
                longest.push((entry.slot, 0));
                longest.len() - 1
            });
            let (before, ours, theirs) = (longest[place].1, prompt.tokens(), entry.prompt.tokens());
            // Most of a burst differ where the first of it did: one token tells that they have no more in common.
            if ours.len() <= before || ours.get(before) != theirs.get(before) {
                continue;
            }
            longest[place].1 = before.max(common_prefix(ours, theirs));
        }
        for (slot, tokens) in longest {
            expect(slot, (tokens / STEP * STEP) as u32);
        }
    }

    /// Expects a prompt at an endpoint from now on.
    pub(crate) fn add(&mut self, slot: u16, prompt: &PromptTokens, now: Instant) {
        self.expire(now);
        let cost = prompt.cost();
        if cost > MAX_COST {
            return;
        }
        while self.entries.len() >= MAX_ENTRIES || self.cost + cost > MAX_COST {
            self.drop_oldest();
        }
        self.cost += cost;
        self.entries.push_back(Speculation { until: now + TTL, slot, prompt: prompt.clone() });
    }

    fn expire(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|oldest| oldest.until <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.cost -= oldest.prompt.cost();
        }
    }
}

/// Tokens that both begin with.
pub(crate) fn common_prefix(one: &[u32], other: &[u32]) -> usize {
    let chunks = one.chunks_exact(STEP).zip(other.chunks_exact(STEP));
    let start = chunks.take_while(|(one, other)| one == other).count() * STEP;
    start + one[start..].iter().zip(&other[start..]).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(tokens: impl IntoIterator<Item = u32>, adapter: Option<&str>, salt: Option<&str>) -> PromptTokens {
        PromptTokens::new(tokens.into_iter().collect(), adapter, salt)
    }

    fn expected(speculations: &mut Speculations, prompt: &PromptTokens, now: Instant) -> Vec<(u16, u32)> {
        let mut expected = Vec::new();
        speculations.expect_tokens(prompt, now, |slot, tokens| expected.push((slot, tokens)));
        expected
    }

    #[test]
    fn a_prefix_is_expected_where_it_was_sent_for_2_seconds() {
        let (mut speculations, now) = (Speculations::default(), Instant::now());
        speculations.add(3, &prompt(0..100, None, None), now);
        speculations.add(3, &prompt((0..40).chain(500..600), None, None), now);
        speculations.add(5, &prompt((0..20).chain(900..1000), None, None), now);
        let asked = prompt((0..90).chain(700..710), None, None);
        assert_eq!(expected(&mut speculations, &asked, now), [(3, 80), (5, 16)]);
        let other = |adapter, salt| prompt(0..90, adapter, salt);
        for other in [other(Some("tuned"), None), other(None, Some("tenant"))] {
            assert!(expected(&mut speculations, &other, now).is_empty());
        }
        let soon = now + Duration::from_millis(1999);
        assert_eq!(expected(&mut speculations, &asked, soon).len(), 2);
        assert!(expected(&mut speculations, &asked, now + TTL).is_empty());
        assert_eq!((speculations.entries.len(), speculations.cost), (0, 0));
    }

    #[test]
    fn entries_and_their_tokens_are_bounded() {
        let (mut speculations, now) = (Speculations::default(), Instant::now());
        (0..2000).for_each(|_| speculations.add(1, &prompt(0..10, None, None), now));
        assert_eq!((speculations.entries.len(), speculations.cost), (MAX_ENTRIES, 10 * MAX_ENTRIES));
        speculations.add(2, &prompt(0..MAX_COST as u32, None, None), now);
        assert_eq!((speculations.entries.len(), speculations.cost), (1, MAX_COST));
    }

    #[test]
    fn salts_and_adapters_count() {
        let (mut speculations, now) = (Speculations::default(), Instant::now());
        let salt = "s".repeat(MAX_COST);
        (0..10).for_each(|_| speculations.add(1, &prompt(0..10, Some("tuned"), Some(&salt)), now));
        assert_eq!(speculations.entries.len(), 3, "4 MiB of 16 each, and some tokens");
    }
}
