//! A picked endpoint: the reservation of a request's place, until the request ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use pailou_snapshot::Endpoint;

use crate::{
    endpoint::{EndpointRecord, Members, PoolEndpoint},
    load::Tokens,
    new_prompts::NewPrompt,
    prefix::Chain,
    queue::{EvictablePlace, Eviction},
    receipt::Receipt,
    score::Candidate,
    speculation::SpeculationId,
    state::Shared,
    timed::Timed,
    tokens::{AskedTokens, TokenizerPlace, TokensWay},
};

/// Endpoints for one request, best first, with a place reserved at the current one.
///
/// To be kept until the request has ended, its response's body included: dropping it is what gives the place back.
pub struct Picked {
    shared: Arc<Shared>,
    reservation: Reservation,
    /// Apart: requests under way are moved about, and few of these figures are looked at again.
    seen: Box<Seen>,
    /// The current one, as an index into the ranking.
    at: usize,
    /// The prompt's blocks, for as long as the request may still move.
    chain: Chain,
    /// Blocks that the current endpoint had before this request.
    known: usize,
    /// Prompt tokens that the engine reported as cached, plus one; 0 until then.
    cached: AtomicU64,
    /// State of a prompt whose tokens are known. Apart, as most pools have no KV events.
    pub(crate) exact: Option<Box<ExactPick>>,
    /// Its wait for room; `None` if it had none.
    waited: Option<Duration>,
    /// Its place among those that may be evicted. Apart, as few may.
    pub(crate) evictable: Option<Box<EvictablePlace>>,
}

/// Most characters of a model's name in the log.
const MAX_MODEL_CHARACTERS: usize = 200;

/// A pick by known tokens.
pub(crate) struct ExactPick {
    /// The answer that gave the prompt's tokens, until the engine's own count comes.
    pub(crate) asked_tokens: Option<AskedTokens>,
    /// The expectation of the prompt at the current endpoint.
    pub(crate) expected: Option<SpeculationId>,
}

/// Figures that a pick saw. Their size is a power of two: the allocator finds blocks of other sizes only by a detour.
#[repr(align(256))]
pub(crate) struct Seen {
    /// Never empty.
    pub(crate) ranked: Vec<Candidate>,
    /// Number of endpoints that were judged to rank these.
    pub(crate) judged: usize,
    pub(crate) saturation: f32,
    pub(crate) prompt_bytes: usize,
    /// Tokens of the prompt, where they are known.
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) tokens_way: Option<TokensWay>,
    pub(crate) new_prompt: NewPrompt,
    pub(crate) timed: Timed,
}

// One field too many would make it the next multiple.
const _: () = assert!(size_of::<Seen>().is_power_of_two());

impl Picked {
    pub(crate) fn new(shared: Arc<Shared>, reservation: Reservation, seen: Seen, chain: Chain) -> Self {
        let cached = AtomicU64::new(0);
        let mut picked = Self {
            shared,
            reservation,
            seen: Box::new(seen),
            at: 0,
            chain,
            known: 0,
            cached,
            exact: None,
            waited: None,
            evictable: None,
        };
        picked.learn();
        picked.count_new_prompt(true);
        picked
    }

    /// The same of a request that has waited for so long.
    pub(crate) fn after_wait(mut self, waited: Duration) -> Self {
        self.waited = Some(waited);
        self
    }

    /// Signal that the request is to give up its place for a more important one; `None` where it need not.
    pub fn eviction(&self) -> Option<&Arc<Eviction>> {
        self.evictable.as_ref().map(|place| place.eviction())
    }

    /// Wait of the request for an endpoint with room; `None` if it had none.
    pub fn waited(&self) -> Option<Duration> {
        self.waited
    }

    /// The current endpoint.
    pub fn endpoint(&self) -> &Arc<PoolEndpoint> {
        self.reservation.endpoint()
    }

    /// The current endpoint and, behind it, those to fail over to, best first; at most 16.
    pub fn ranked(&self) -> impl Iterator<Item = &Endpoint> {
        let members = &self.reservation.members.endpoints;
        self.seen.ranked[self.at..].iter().map(|candidate| &members[candidate.member as usize].endpoint)
    }

    /// Tokens of the prompt that the current endpoint has not cached, as far as can be told: four bytes to a token where they are not known.
    pub fn uncached_tokens(&self) -> u64 {
        let bytes = self.seen.prompt_bytes as u64;
        let cached = u64::from(self.seen.ranked[self.at].prefix).min(bytes);
        match self.seen.prompt_tokens {
            Some(tokens) if bytes > 0 => tokens * (bytes - cached) / bytes,
            Some(tokens) => tokens,
            None => (bytes - cached) / 4,
        }
    }

    /// Whether there is an endpoint to fail over to.
    pub fn has_next(&self) -> bool {
        self.at + 1 < self.seen.ranked.len()
    }

    /// Reports that the current endpoint failed, and moves the reservation to the next best. False, and nothing moves, if there is
    /// none.
    pub fn fail_over(&mut self) -> bool {
        self.fail_over_at(Instant::now())
    }

    /// The same at this time, on a simulator's clock.
    pub fn fail_over_at(&mut self, now: Instant) -> bool {
        self.failed_at(now);
        self.pass_over_at(now)
    }

    /// Moves the reservation to the next best, for no fault of the current endpoint. False, and nothing moves, if there is none.
    pub fn pass_over(&mut self) -> bool {
        self.pass_over_at(Instant::now())
    }

    fn pass_over_at(&mut self, now: Instant) -> bool {
        if !self.has_next() {
            return false;
        }
        self.count_new_prompt(false);
        self.at += 1;
        let from = Arc::clone(self.endpoint());
        let Seen { ranked, timed, .. } = &mut *self.seen;
        self.reservation.move_to(ranked[self.at].member);
        timed.moved(&from.record, &ranked[self.at], &self.reservation.endpoint().record, now);
        self.learn();
        self.count_new_prompt(true);
        if let Some((id, exact)) = self.exact.as_ref().and_then(|exact| exact.expected).zip(self.shared.exact.load_full()) {
            exact.moved(self.reservation.endpoint().slot, id, now);
        }
        true
    }

    /// Reports that the current endpoint did not take the request (no connection, 503): it comes last for other requests, for 2
    /// s at first, up to 30 s while it goes on failing.
    pub fn failed(&mut self) {
        self.failed_at(Instant::now());
    }

    fn failed_at(&mut self, now: Instant) {
        // The pick of a later attempt counts it anew.
        self.count_new_prompt(false);
        let endpoint = self.reservation.endpoint();
        endpoint.record.failures.put_last(now);
        self.reservation.members.index.forget(endpoint, &self.chain, self.known);
        if let Some(exact) = &*self.shared.exact.load() {
            exact.forget(endpoint.slot);
        }
    }

    /// Reports whether another endpoint computes the prompt for the current one, before the first token.
    pub fn prefill_elsewhere(&mut self, is_so: bool) {
        self.seen.timed.prefill_elsewhere(is_so, &self.reservation.endpoint().record);
        self.count_new_prompt(!is_so);
    }

    /// Counts the prompt among the new ones of the current endpoint, if it is new, or takes it back.
    fn count_new_prompt(&mut self, is_here: bool) {
        let endpoint = self.reservation.endpoint();
        self.seen.new_prompt.count(is_here, &endpoint.new_prompts, &self.reservation.members.index.new_prompts);
    }

    /// Reports content from the current endpoint: it works, and the request will not move any more. Content of a stream is the first token.
    pub fn first_token(&mut self, is_stream: bool) {
        self.content(is_stream.then(Instant::now));
    }

    /// The same at this time, on a simulator's clock.
    pub fn first_token_at(&mut self, is_stream: bool, now: Instant) {
        self.content(is_stream.then_some(now));
    }

    /// `first_token`: its time, of a stream.
    fn content(&mut self, first_token: Option<Instant>) {
        let endpoint = self.reservation.endpoint();
        endpoint.record.failures.clear();
        self.seen.timed.content(endpoint, &self.shared.objectives, first_token);
        self.chain = Chain::default();
    }

    /// Reports the end of a response, with the number of prompt tokens that the engine found cached, where it said so, and of those that it
    /// generated; 0 where it did not say.
    pub fn finished(&self, cached_tokens: Option<u64>, output_tokens: u64) {
        self.ended(cached_tokens, output_tokens, Instant::now);
    }

    /// The same at this time, on a simulator's clock.
    pub fn finished_at(&self, cached_tokens: Option<u64>, output_tokens: u64, now: Instant) {
        self.ended(cached_tokens, output_tokens, || now);
    }

    fn ended(&self, cached_tokens: Option<u64>, output_tokens: u64, now: impl FnOnce() -> Instant) {
        let endpoint = self.reservation.endpoint();
        endpoint.record.failures.clear();
        self.seen.timed.finished(endpoint, &self.shared.objectives, output_tokens, now);
        let Some(cached) = cached_tokens else { return };
        if self.cached.swap(cached.saturating_add(1), Relaxed) == 0 {
            endpoint.accuracy.record(self.predicted_tokens(), cached);
        }
    }

    /// Reports the engine's own count of the prompt's tokens, by which those of its tokenizer are verified.
    pub fn counted(&self, prompt_tokens: u64) {
        let asked = self.exact.as_ref().and_then(|exact| exact.asked_tokens.as_ref()).filter(|_| prompt_tokens > 0);
        let Some((asked, exact)) = asked.zip(self.shared.exact.load_full()) else { return };
        let Some(place) = exact.tokenizer.verify(asked, prompt_tokens) else { return };
        let (tokenizer, instead) = match place {
            TokenizerPlace::InProcess => ("in_process", "engines are asked"),
            TokenizerPlace::Engine => ("engine", "cached prefixes are estimated"),
        };
        let (pool, endpoint) = (&self.reservation.members.pool.name, &self.endpoint().endpoint.name);
        let (model, tokens): (String, _) = (asked.model.chars().take(MAX_MODEL_CHARACTERS).collect(), asked.count);
        tracing::warn!(
            %pool, %endpoint, model, tokenizer, tokens, counted = prompt_tokens,
            "a tokenizer gives another number of tokens than engines count, again and again; for a while {instead}"
        );
    }

    /// Why this endpoint: what the best-placed endpoints scored.
    pub fn receipt(&self) -> Receipt {
        let cached = self.cached.load(Relaxed).checked_sub(1);
        Receipt { waited: self.waited, ..Receipt::new(&self.reservation.members, &self.seen, self.at, cached) }
    }

    #[cfg(test)]
    pub(crate) fn is_at(&self, endpoint: &PoolEndpoint) -> bool {
        std::ptr::eq(&**self.reservation.endpoint(), endpoint)
    }

    fn predicted_tokens(&self) -> u64 {
        u64::from(self.seen.ranked[self.at].prefix) / 4
    }

    fn learn(&mut self) {
        self.known = self.reservation.members.index.learn(self.reservation.endpoint(), &self.chain);
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        // First: who hears of the room that comes next counts those that have yet to go.
        self.evictable = None;
        self.seen.timed.release(&self.reservation.endpoint().record);
        // Another picker judges by itself, and gives no reasons.
        if self.seen.judged > 0 {
            self.shared.receipts.keep(|| self.receipt());
        }
    }
}

impl std::fmt::Debug for Picked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picked").field("endpoint", &self.endpoint().endpoint).field("at", &self.at).finish_non_exhaustive()
    }
}

/// A request's place at an endpoint; its drop gives the place back.
pub(crate) struct Reservation {
    members: Arc<Members>,
    member: u32,
    tokens: Tokens,
}

impl Reservation {
    /// Takes over a place that was reserved.
    pub(crate) fn held(members: Arc<Members>, member: u32, tokens: Tokens) -> Self {
        Self { members, member, tokens }
    }

    fn endpoint(&self) -> &Arc<PoolEndpoint> {
        &self.members.endpoints[self.member as usize]
    }

    pub(crate) fn record(&self) -> &EndpointRecord {
        &self.endpoint().record
    }

    fn move_to(&mut self, member: u32) {
        self.members.endpoints[member as usize].record.in_flight.reserve(self.tokens);
        self.endpoint().record.in_flight.release(self.tokens);
        self.member = member;
        self.members.queue.note_room();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.endpoint().record.in_flight.release(self.tokens);
        self.members.queue.note_room();
    }
}
