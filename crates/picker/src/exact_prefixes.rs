//! State of a pool whose engines publish KV events: the index of cached blocks, tokens of prompts to look up there, and what picks expect to
//! be cached soon.

use std::{sync::Arc, time::Instant};

use pailou_snapshot::{KvEvents, Pool, RoutingStrategy};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    kv_events::{CachedTokens, KvCache},
    speculation::{SpeculationId, Speculations},
    state::Shared,
    tokens::{Engine, PromptTokens, TokenQuestion, Tokenizer},
};

/// State of exact prefixes, for as long as a pool has KV events.
pub(crate) struct ExactPrefixes {
    pub(crate) kv_cache: Arc<KvCache>,
    pub(crate) tokenizer: Tokenizer,
    speculations: Mutex<Speculations>,
}

/// Sockets of a pool's KV events, where they matter to its picks.
pub(crate) fn settings(pool: &Pool) -> Option<KvEvents> {
    pool.kv_events.filter(|_| pool.strategy == RoutingStrategy::PrefixCache)
}

impl ExactPrefixes {
    pub(crate) fn new() -> Self {
        Self { kv_cache: Arc::new(KvCache::new()), tokenizer: Tokenizer::default(), speculations: Mutex::default() }
    }

    /// Cached parts of a prompt, as endpoints tell them, and those that they are about to have.
    pub(crate) fn cached_tokens(&self, prompt: &PromptTokens, now: Instant) -> CachedTokens {
        let mut cached = self.kv_cache.cached_tokens(&prompt.prompt());
        self.speculations.lock().expect_tokens(prompt, now, |slot, tokens| cached.expect_tokens(slot, tokens));
        cached
    }

    /// Expects a prompt in the cache of the endpoint that was picked for it.
    pub(crate) fn picked(&self, slot: u16, prompt: &PromptTokens, now: Instant) -> Option<SpeculationId> {
        self.speculations.lock().add(slot, prompt, now)
    }

    /// Expects it where its request has gone after that.
    pub(crate) fn moved(&self, slot: u16, id: SpeculationId, now: Instant) {
        self.speculations.lock().move_to(slot, id, now);
    }

    /// Expects nothing any more at an endpoint that failed, lost its cache or left the pool.
    pub(crate) fn forget(&self, slot: u16) {
        self.speculations.lock().forget(slot);
    }
}

/// Tokens of a prompt, where they are known or an engine gives them in time.
pub(crate) async fn prompt_tokens(
    shared: &Shared,
    exact: &ExactPrefixes,
    runtime: &Handle,
    question: &TokenQuestion<'_>,
) -> Option<PromptTokens> {
    let mut prompt = exact.tokenizer.tokens(question, runtime, || engine(shared)).await?;
    if is_adapter(shared, exact, question.model) {
        prompt.set_adapter(question.model);
    }
    Some(prompt)
}

/// An engine to ask: any but those that have just failed.
fn engine(shared: &Shared) -> Option<Engine> {
    let members = shared.members.load();
    let now = Instant::now();
    let start = fastrand::usize(..members.endpoints.len().max(1));
    let mut all = members.endpoints.iter().cycle().skip(start).take(members.endpoints.len());
    let endpoint = all.clone().find(|endpoint| !endpoint.record.failures.is_last(now)).or_else(|| all.next())?;
    Some(Engine { address: endpoint.address, kind: members.pool.runtime, transport: shared.transport.lock().clone() })
}

/// Whether a model's name is that of a LoRA adapter, as far as events or metrics have shown one.
fn is_adapter(shared: &Shared, exact: &ExactPrefixes, model: &str) -> bool {
    let now = Instant::now();
    exact.kv_cache.knows_adapter(model)
        || shared.members.load().endpoints.iter().any(|endpoint| {
            let reading = endpoint.reading.load();
            let named = |names: &[Box<str>]| names.iter().any(|name| **name == *model);
            reading.adapters(now).is_some_and(|adapters| named(&adapters.running) || named(&adapters.waiting))
        })
}
