//! Lookup: the longest cached run from the beginning of a prompt, for each owner.
//!
//! Blocks that follow each other mostly have numbers that do, so that a run is followed from record to record; only where that
//! ends for an owner, the tokens' key is looked up, once for all owners. So a lookup costs a step of a few nanoseconds for each block
//! and owner, and a search for each place where runs end.

use super::{
    Index,
    publishers::{PublisherId, Stride},
    records::NONE,
    token_chain::{Prompt, PromptKeys},
};
use crate::decode::Tier;

/// Part of a prompt that a publisher has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedPrefix {
    /// The publisher.
    pub publisher: PublisherId,
    /// Tokens from the beginning by the fastest tier that holds them, the fastest first. Their sum is the whole run, below the
    /// prompt's length: engines compute the last token anew.
    pub tokens: [u32; 3],
}

impl CachedPrefix {
    /// Tokens of the run.
    pub fn total(&self) -> u32 {
        self.tokens.iter().sum()
    }

    /// Of two runs of the same length the one in slower tiers is less.
    fn order(&self) -> (u32, [u32; 3]) {
        (self.total(), self.tokens)
    }
}

/// One owner's run.
#[derive(Clone, Copy, Debug)]
struct Run {
    covered: u32,
    tokens: [u32; 3],
    /// The last block: its number, where the run ended before it, and its tier.
    last: u32,
    before_last: u32,
    last_tier: Tier,
}

impl Run {
    const EMPTY: Self = Self { covered: 0, tokens: [0; 3], last: NONE, before_last: 0, last_tier: Tier::Gpu };

    /// Adds a block that ends here, unless there is a hole before it. A faster tier of the last block replaces its tier.
    fn extend(&mut self, number: u32, end: u32, span: u32, tier: Tier) -> bool {
        let Some(start) = end.checked_sub(span).filter(|start| *start <= self.covered) else { return false };
        if self.covered < end {
            self.before_last = self.covered;
            self.covered = end;
            self.tokens[tier as usize] += end - self.before_last;
        } else if start <= self.before_last && tier < self.last_tier {
            let tokens = end - self.before_last;
            self.tokens[self.last_tier as usize] -= tokens;
            self.tokens[tier as usize] += tokens;
        } else {
            return true;
        }
        (self.last, self.last_tier) = (number, tier);
        true
    }
}

/// One walk along a prompt.
struct Walk<'a> {
    index: &'a Index,
    /// The only block size that counts.
    block_size: Option<u32>,
    stride: Stride,
}

impl Index {
    /// The longest cached run of each publisher that has one. A publisher with several KV cache groups has what all of them have.
    ///
    /// Where one publisher has the same tokens under two hashes, their tier is that of either.
    pub fn cached_prefixes(&self, prompt: &Prompt<'_>) -> Vec<CachedPrefix> {
        let mut runs = vec![Run::EMPTY; self.publishers.owners.len()];
        if prompt.images.is_empty() {
            self.walk(prompt, None, &mut runs);
        } else {
            // An image enters the chain where a block begins, so that the chain depends on the block size.
            self.publishers.block_sizes().into_iter().for_each(|size| self.walk(prompt, Some(size), &mut runs));
        }
        let mut prefixes: Vec<CachedPrefix> = Vec::new();
        for (owner, run) in self.publishers.owners.iter().zip(&runs) {
            let Some(publisher) = owner.map(|owner| owner.publisher) else { continue };
            let prefix = CachedPrefix { publisher, tokens: run.tokens };
            match prefixes.iter_mut().find(|prefix| prefix.publisher == publisher) {
                Some(other) if other.order() <= prefix.order() => {}
                Some(other) => *other = prefix,
                None => prefixes.push(prefix),
            }
        }
        prefixes.retain(|prefix| prefix.total() > 0);
        prefixes
    }

    fn walk(&self, prompt: &Prompt<'_>, block_size: Option<u32>, runs: &mut [Run]) {
        let Some(stride) = self.publishers.stride(block_size) else { return };
        let walk = Walk { index: self, block_size, stride };
        let chain_blocks = block_size.unwrap_or(u32::MAX);
        walk.run(PromptKeys::new(prompt, self.seed, self.unit, chain_blocks), prompt.tokens.len() as u32, runs);
    }
}

impl Walk<'_> {
    fn run(&self, mut keys: PromptKeys<'_>, length: u32, runs: &mut [Run]) {
        let mut active: Vec<u16> = (0..runs.len() as u16).collect();
        for end in (self.stride.step..length).step_by(self.stride.step as usize) {
            let key = keys.advance(end);
            let mut must_search = false;
            active.retain(|owner| {
                let run = &mut runs[usize::from(*owner)];
                if run.covered + self.stride.longest < end {
                    return false;
                }
                must_search |= !self.follow(*owner, run, key, end);
                true
            });
            if active.is_empty() {
                return;
            }
            if must_search {
                self.search(key, end, runs);
            }
        }
    }

    /// Extends a run by the record after its last one, if that is of this key. Returns whether nothing more is to be found for it
    /// here.
    fn follow(&self, owner: u16, run: &mut Run, key: u64, end: u32) -> bool {
        match self.index.publishers.owners[usize::from(owner)].map(|owner| owner.span) {
            None => return true,
            Some(None) => return false,
            Some(Some(span)) if end - run.covered < span => return true,
            Some(Some(_)) => {}
        }
        let Some(number) = run.last.checked_add(1) else { return false };
        self.index.records.find(number).is_some_and(|record| record.key == key)
            && self.extend(number, end, |at| (at == owner).then_some(run))
    }

    fn search(&self, key: u64, end: u32, runs: &mut [Run]) {
        let mut next = self.index.first_of_key(key).unwrap_or(NONE);
        while next != NONE {
            self.extend(next, end, |owner| runs.get_mut(usize::from(owner)));
            next = self.index.records[next].next;
        }
    }

    /// Extends the run of a record's owner by it.
    fn extend<'r>(&self, number: u32, end: u32, run_of: impl FnOnce(u16) -> Option<&'r mut Run>) -> bool {
        let record = &self.index.records[number];
        let Some(lane) = self.index.publishers.lanes.get(usize::from(record.lane)) else { return false };
        if !lane.is_live || self.block_size.is_some_and(|size| lane.block_size != size) || !lane.is_found_at(record.offset()) {
            return false;
        }
        let Some((run, tier)) = run_of(lane.owner).zip(record.best_tier()) else { return false };
        record.touch();
        run.extend(number, end, lane.span(), tier)
    }
}
