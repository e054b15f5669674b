//! State of a pool whose engines publish KV events: the index of cached blocks, tokens of prompts to look up there, and what picks expect to
//! be cached soon.

use std::{sync::Arc, time::Instant};

use pailou_snapshot::{KvEvents, Pool, RoutingStrategy};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::runtime::Handle;

use crate::{
    endpoint::{Members, PoolEndpoint},
    kv_events::{CachedTokens, KvCache},
    speculation::{SpeculationId, Speculations},
    state::Shared,
    tokens::{Engine, LocalTokenizer, PromptTokens, SilentEngines, TokenQuestion, Tokenizer, TokensOutcome, TokensWay},
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
///
/// # Errors
/// They are to be estimated.
pub(crate) async fn prompt_tokens(
    shared: &Shared,
    exact: &ExactPrefixes,
    runtime: &Handle,
    question: &TokenQuestion<'_>,
) -> Result<PromptTokens, TokensWay> {
    let local =
        shared.token_source.load().as_ref().and_then(|source| {
            Some(LocalTokenizer { tokenizer: source.0.tokenizer(question.model)?, permits: source.0.permits() })
        });
    let engine = |silent: &SilentEngines, model| engine(shared, question, (silent, model));
    let mut prompt = exact.tokenizer.tokens(question, runtime, (local, engine)).await?;
    if is_adapter(shared, exact, question.model) {
        prompt.set_adapter(question.model);
    }
    Ok(prompt)
}

/// The engine to ask.
fn engine(shared: &Shared, question: &TokenQuestion<'_>, silent: (&SilentEngines, u64)) -> Result<Engine, TokensOutcome> {
    let members = shared.members.load();
    let endpoint = choose(&members, question, silent)?;
    Ok(Engine { address: endpoint.address, kind: members.pool.runtime, transport: shared.transport.lock().clone() })
}

/// Any of the endpoints that a pick would choose among, but for those that were silent, or have no tokenizer of the model with this key.
pub(crate) fn choose<'a>(
    members: &'a Members,
    question: &TokenQuestion<'_>,
    (silent, model): (&SilentEngines, u64),
) -> Result<&'a PoolEndpoint, TokensOutcome> {
    let now = Instant::now();
    let is_eligible = |endpoint: &PoolEndpoint| question.subset.is_none_or(|subset| subset.contains(&endpoint.address));
    let is_avoided = |endpoint: &PoolEndpoint| question.avoided.get(endpoint.slot()).is_some_and(|avoided| *avoided);
    let rank =
        |endpoint: &PoolEndpoint| (endpoint.record.failures.is_last(now) || is_avoided(endpoint), endpoint.endpoint.priority);
    let eligible = || members.endpoints.iter().map(|endpoint| &**endpoint).filter(|endpoint| is_eligible(endpoint));
    let best = eligible().map(rank).min().ok_or(TokensOutcome::Unneeded)?;
    let mut foremost: SmallVec<[_; 64]> = eligible().filter(|endpoint| rank(endpoint) == best).collect();
    if foremost.len() < 2 {
        return Err(TokensOutcome::Unneeded);
    }
    foremost.retain(|endpoint| !silent.contains(endpoint.address, model, now));
    if foremost.is_empty() {
        return Err(TokensOutcome::StandingBack);
    }
    Ok(foremost[fastrand::usize(..foremost.len())])
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
