//! llm-d's router as its guides configure it, from its published formulas: KV cache 2, queue 2, prefix 3, no-hit-lru 2.
//!
//! It scores the figures of the last scrape, without requests sent since. Its prompts cost it no time here, and it follows events as
//! soon as they come: both are kinder than life.

use std::{collections::HashMap, rc::Rc, time::Duration};

use crate::picker::{
    kv::KvEvent,
    lru::{HashedMap, Lru},
    policy::{EndpointPicker, PickCall, PoolMembers, ReplicaId, SCRAPE_INTERVAL, cheapest},
    prompt::{self, BLOCK_TOKENS},
    replica::{EngineStats, Replica},
};

const KV: f64 = 2.0;
const QUEUE: f64 = 2.0;
const PREFIX: f64 = 3.0;
const NO_HIT: f64 = 2.0;
const ADAPTER: f64 = 1.0;
/// `blockSizeTokens` of approx-prefix-cache-producer: at least this when it tunes itself.
const ESTIMATE_BLOCK: u32 = 64;
/// `maxPrefixTokensToMatch`, in blocks.
const MOST_BLOCKS: usize = (131_072 / ESTIMATE_BLOCK) as usize;
/// `speculativeTTL`: entries that a pick makes before the engine's event comes.
const SPECULATIVE: Duration = Duration::from_secs(2);

/// Source of its knowledge of caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// approx-prefix-cache-producer.
    Estimate,
    /// precise-prefix-cache-producer, with speculative entries.
    Events,
}

/// llm-d's picker.
pub(super) struct LlmD {
    source: Source,
    random: fastrand::Rng,
    members: PoolMembers,
    stats: HashMap<ReplicaId, EngineStats>,
    caches: HashMap<ReplicaId, Cache>,
    /// When a cold request went to a replica last.
    cold_use: HashMap<ReplicaId, u64>,
    cold_count: u64,
}

/// One replica's cache, as far as it knows.
#[derive(Default)]
struct Cache {
    estimated: Lru,
    stored: HashedMap<()>,
    /// Blocks of prompts sent there, by the end of their time.
    speculative: HashedMap<Duration>,
}

impl LlmD {
    pub(super) fn new(source: Source, random: fastrand::Rng) -> Self {
        Self {
            source,
            random,
            members: PoolMembers::default(),
            stats: HashMap::new(),
            caches: HashMap::new(),
            cold_use: HashMap::new(),
            cold_count: 0,
        }
    }

    /// The blocks by which this source knows a prompt.
    fn blocks(&self, call: &PickCall<'_>) -> Rc<[u64]> {
        match self.source {
            Source::Estimate => {
                let mut blocks = prompt::blocks(call.prompt.iter().copied(), call.adapter, ESTIMATE_BLOCK);
                blocks.truncate(MOST_BLOCKS);
                blocks.into()
            }
            Source::Events => call.blocks[..(call.prompt_tokens / BLOCK_TOKENS) as usize].into(),
        }
    }

    fn learn(&mut self, replica: ReplicaId, blocks: &[u64], now: Duration) {
        let capacity = self.stats.get(&replica).map_or(31_250, |stats| (stats.kv_tokens / u64::from(ESTIMATE_BLOCK)) as usize);
        let cache = self.caches.entry(replica).or_default();
        match self.source {
            Source::Estimate => {
                blocks.iter().rev().for_each(|hash| {
                    cache.estimated.insert(*hash);
                });
                while cache.estimated.len() > capacity {
                    cache.estimated.pop();
                }
            }
            Source::Events => {
                cache.speculative.retain(|_, until| *until > now);
                cache.speculative.extend(blocks.iter().map(|hash| (*hash, now + SPECULATIVE)));
            }
        }
    }

    /// Scores by rank of cold use: replicas that no cold request went to come first.
    fn no_hit(&self, choices: &[ReplicaId]) -> HashMap<ReplicaId, f64> {
        let mut order: Vec<_> = choices.to_vec();
        order.sort_by_key(|replica| self.cold_use.get(replica).copied().unwrap_or(0));
        let last = order.len().saturating_sub(1).max(1) as f64;
        let never = |replica| !self.cold_use.contains_key(&replica);
        let score = |(rank, replica): (usize, ReplicaId)| if never(replica) { 1.0 } else { 1.0 - rank as f64 / last };
        order.iter().copied().enumerate().map(|(rank, replica)| (replica, score((rank, replica)))).collect()
    }
}

impl EndpointPicker for LlmD {
    fn pick(&mut self, call: &PickCall<'_>, _: &[Replica], now: Duration) -> Option<ReplicaId> {
        let choices = self.members.choices(now);
        let blocks = self.blocks(call);
        let (source, caches) = (self.source, &self.caches);
        let matched = |replica| caches.get(&replica).map_or(0, |cache| cache.matched(source, &blocks, now));
        let matches: HashMap<ReplicaId, usize> = choices.iter().map(|replica| (*replica, matched(*replica))).collect();
        let is_cold = matches.values().all(|matched| *matched == 0);
        let no_hit = is_cold.then(|| self.no_hit(&choices));
        let stats = &self.stats;
        let waiting = |replica| stats.get(&replica).map_or(0, |stats| stats.waiting) as f64;
        let shortest = choices.iter().map(|replica| waiting(*replica)).fold(f64::INFINITY, f64::min);
        let longest = choices.iter().map(|replica| waiting(*replica)).fold(0.0, f64::max);
        let score = |replica: ReplicaId| {
            let queue = if longest > shortest { (longest - waiting(replica)) / (longest - shortest) } else { 1.0 };
            let kv = 1.0 - stats.get(&replica).map_or(0.0, |stats| stats.kv);
            let prefix = matches[&replica] as f64 / blocks.len().max(1) as f64;
            let no_hit = no_hit.as_ref().map_or(0.5, |scores| scores[&replica]);
            let adapter =
                call.adapter.map_or(0.0, |adapter| stats.get(&replica).map_or(0.0, |stats| stats.adapter_affinity(adapter)));
            QUEUE * queue + KV * kv + PREFIX * prefix + NO_HIT * no_hit + ADAPTER * adapter
        };
        let picked = cheapest(&choices, &mut self.random, |replica| -score(replica))?;
        if is_cold {
            self.cold_count += 1;
            self.cold_use.insert(picked, self.cold_count);
        }
        self.learn(picked, &blocks, now);
        Some(picked)
    }

    fn fail_over(&mut self, call: &PickCall<'_>, from: ReplicaId, replicas: &[Replica], now: Duration) -> Option<ReplicaId> {
        self.members.failed(from, now);
        self.pick(call, replicas, now)
    }

    fn set_members(&mut self, members: &[ReplicaId], _: Duration) {
        self.members.set(members);
        self.stats.retain(|replica, _| members.contains(replica));
        self.caches.retain(|replica, _| members.contains(replica));
        self.cold_use.retain(|replica, _| members.contains(replica));
    }

    fn scrapes(&self) -> bool {
        true
    }

    fn end_scrape(&mut self, replica: ReplicaId, stats: Option<&EngineStats>, _: Duration) -> Duration {
        if let Some(stats) = stats {
            self.stats.insert(replica, stats.clone());
        }
        SCRAPE_INTERVAL
    }

    fn subscribes(&self) -> bool {
        self.source == Source::Events
    }

    fn take_events(&mut self, replica: ReplicaId, events: Option<&[KvEvent]>) {
        let cache = self.caches.entry(replica).or_default();
        let Some(events) = events else { return cache.stored.clear() };
        for event in events {
            match *event {
                KvEvent::Stored { hash, .. } => cache.stored.insert(hash, ()),
                KvEvent::Removed(hash) => cache.stored.remove(&hash),
            };
        }
    }
}

impl Cache {
    /// Blocks from the beginning of the prompt on. A cache that has one has those before it.
    fn matched(&self, source: Source, blocks: &[u64], now: Duration) -> usize {
        match source {
            Source::Estimate => blocks.partition_point(|hash| self.estimated.contains(*hash)),
            Source::Events => {
                let is_speculative = |hash: &u64| self.speculative.get(hash).is_some_and(|until| *until > now);
                blocks.partition_point(|hash| self.stored.contains_key(hash) || is_speculative(hash))
            }
        }
    }
}
