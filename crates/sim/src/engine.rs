//! A continuous-batching engine as a pure state machine: no clock, no runtime, no sockets.
//!
//! The shape is vLLM's scheduler: a step gives a token budget first to the sequences that run, then to those that
//! wait (long prompts in chunks), allocates KV blocks, preempts the youngest sequence when blocks run out, and costs
//! what [`CostModel`] says. The caller sleeps for a [`Step`]'s duration and then hands it back:
//! `begin_step` → time passes → `end_step`.

mod block_event;
mod blocks;
mod cost;
mod offload;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use self::block_event::stored;
pub use self::block_event::{BlockEvent, Tier};
use self::blocks::BlockPool;
pub use self::cost::CostModel;
use self::offload::Offload;
pub use self::offload::OffloadLimits;

/// How much the engine takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tokens in a KV block, at least 1.
    pub block_size: u32,
    /// Number of KV blocks, at least 1.
    pub num_blocks: u32,
    /// Sequences that run at the same time.
    pub max_num_seqs: u32,
    /// Tokens computed in one step, prompts and decodes together.
    pub max_num_batched_tokens: u32,
    /// Different adapters that run at the same time.
    pub max_adapters: u32,
    /// Requests that wait; more are refused.
    pub max_waiting: usize,
}

/// One sequence to compute.
#[derive(Clone, Debug)]
pub struct Request {
    /// Length of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// Tokens of the prompt whose KV entries another engine has sent.
    pub received_tokens: u32,
    /// Tokens to generate; 0 for requests that only read (embeddings, scores).
    pub output_tokens: u32,
    /// Chained hashes of the full blocks of prompt and output together, in order.
    pub block_hashes: Vec<u64>,
    /// The tokens of prompt and output, for the events of their blocks; none where no events are wanted.
    pub tokens: Vec<u32>,
    /// The request's `cache_salt`, for events alone: the hashes have it already.
    pub cache_salt: Option<Arc<str>>,
    /// The adapter it runs with, if it does not run on the base model.
    pub adapter: Option<Arc<str>>,
}

/// Names a request within its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many requests wait as the limit allows.
    #[error("the engine's queue is full")]
    QueueFull,
    /// Prompt and output together do not fit into the whole KV cache.
    #[error("the request needs more KV blocks than the engine has")]
    TooLong,
}

/// A step under way: the proof that the engine scheduled work, for [`Engine::end_step`] when its time has passed.
#[derive(Debug)]
#[must_use = "the work of a step counts only once it is given to `end_step`"]
pub struct Step {
    /// How long the step takes, in engine time.
    pub duration: Duration,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The request.
    pub id: RequestId,
    /// Tokens generated so far.
    pub generated: u32,
    /// Prompt tokens that came from the prefix cache.
    pub cached_tokens: u32,
    /// The request is complete and has left the engine.
    pub finished: bool,
}

/// Running totals since the engine's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Prompt tokens of requests whose prefill is complete.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Prompt tokens found there.
    pub prefix_hits: u64,
    /// Sequences put back into the queue for want of blocks.
    pub preemptions: u64,
}

/// The engine. Deterministic: the same calls on the same seed give the same steps.
pub struct Engine {
    limits: Limits,
    cost: CostModel,
    blocks: BlockPool,
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    totals: Totals,
    jitter: fastrand::Rng,
    next_id: u64,
    /// Changes of the cache since they were last taken, if they are wanted.
    events: Option<Vec<BlockEvent>>,
    /// Slower tiers, if there are some.
    offload: Option<Offload>,
}

impl Engine {
    /// An idle engine with an empty cache.
    pub fn new(limits: Limits, cost: CostModel, seed: u64) -> Self {
        Engine {
            limits,
            cost,
            blocks: BlockPool::new(limits.block_size.max(1), limits.num_blocks.max(1)),
            running: Vec::new(),
            waiting: VecDeque::new(),
            totals: Totals::default(),
            jitter: fastrand::Rng::with_seed(seed),
            next_id: 0,
            events: None,
            offload: None,
        }
    }

    /// Keeps blocks in slower tiers as well, from now on.
    pub fn offload(&mut self, limits: OffloadLimits) {
        self.offload = Some(Offload::new(limits));
    }

    /// Notes changes of the cache from now on, for [`Engine::take_block_events`].
    pub fn note_block_events(&mut self) {
        self.blocks.note_removals();
        self.events = Some(Vec::new());
    }

    /// Changes of the cache since this was last called, in an order in which they can be applied.
    pub fn take_block_events(&mut self) -> Vec<BlockEvent> {
        let Some(events) = &mut self.events else { return Vec::new() };
        let removed = self.blocks.take_removed();
        // Blocks go when a step begins and come when it ends.
        let removed = (!removed.is_empty()).then_some(BlockEvent::Removed { hashes: removed, tier: Tier::Gpu });
        removed.into_iter().chain(std::mem::take(events)).collect()
    }

    /// Empties the cache. Changes nothing and says false while requests hold blocks.
    pub fn reset_cache(&mut self) -> bool {
        let is_reset = self.blocks.reset();
        self.offload.iter_mut().filter(|_| is_reset).for_each(Offload::clear);
        if let Some(events) = self.events.as_mut().filter(|_| is_reset) {
            events.push(BlockEvent::Cleared);
        }
        is_reset
    }

    /// Puts a request at the end of the queue.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, SubmitError> {
        let tokens = request.prompt_tokens.saturating_add(request.output_tokens);
        if tokens.div_ceil(self.limits.block_size.max(1)) > self.limits.num_blocks.max(1) {
            return Err(SubmitError::TooLong);
        }
        if self.waiting.len() >= self.limits.max_waiting {
            return Err(SubmitError::QueueFull);
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back(Sequence::new(id, request));
        Ok(id)
    }

    /// Takes a request out, wherever it is, and frees its blocks at once. False when it is not there any more.
    pub fn abort(&mut self, id: RequestId) -> bool {
        if let Some(index) = self.running.iter().position(|seq| seq.id == id) {
            let mut seq = self.running.remove(index);
            self.blocks.release(&mut seq.blocks);
            return true;
        }
        let waiting = self.waiting.iter().position(|seq| seq.id == id);
        waiting.and_then(|index| self.waiting.remove(index)).is_some()
    }

    /// Schedules the next step; `None` when there is nothing to do.
    pub fn begin_step(&mut self) -> Option<Step> {
        if self.running.is_empty() && self.waiting.is_empty() {
            return None;
        }
        let mut batch = Batch { budget: self.limits.max_num_batched_tokens.max(1), prefill: 0, decodes: 0, loaded: 0 };
        if self.schedule_running(&mut batch) {
            self.schedule_waiting(&mut batch);
        }
        let spread = self.jitter.f64() * 2.0 - 1.0;
        let load = self.offload.as_ref().map_or(0.0, |offload| offload.load_us_per_token * f64::from(batch.loaded) / 1e6);
        let load = Duration::try_from_secs_f64(load).unwrap_or_default();
        Some(Step { duration: self.cost.step(batch.prefill, batch.decodes, spread) + load })
    }

    /// Completes a step: who has got how far. Requests aborted since its begin are not mentioned.
    pub fn end_step(&mut self, _step: Step) -> Vec<Progress> {
        let mut progress = Vec::with_capacity(self.running.len());
        let Engine { running, blocks, totals, limits, events, offload, .. } = self;
        running.retain_mut(|seq| {
            let new = seq.compute(blocks, limits.block_size.max(1));
            let mut unheard = Vec::new();
            let events = events.as_mut().unwrap_or(&mut unheard);
            for new in new {
                events.push(stored(&seq.request, new.clone(), limits.block_size.max(1)));
                if let Some(offload) = offload {
                    offload.store(&seq.request.block_hashes[new], events);
                }
            }
            let Some(event) = seq.advance(totals) else { return true };
            progress.push(event);
            if event.finished {
                blocks.release(&mut seq.blocks);
            }
            !event.finished
        });
        progress
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Share of KV blocks that are held, 0 to 1. Idle cached blocks count as free, as in vLLM.
    pub fn kv_usage(&self) -> f64 {
        f64::from(self.blocks.in_use()) / f64::from(self.limits.num_blocks.max(1))
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Names of the adapters that run, then of those that wait and do not run; each once, sorted.
    pub fn adapters(&self) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let running = distinct(self.running.iter());
        let mut waiting = distinct(self.waiting.iter());
        waiting.retain(|name| !running.contains(name));
        (running, waiting)
    }

    /// Gives budget to running sequences, oldest first. False when one had to be preempted: then nobody new may start.
    fn schedule_running(&mut self, batch: &mut Batch) -> bool {
        let mut unhindered = true;
        let mut index = 0;
        while index < self.running.len() && batch.budget > 0 {
            let seq = &mut self.running[index];
            let tokens = seq.remaining().min(batch.budget);
            if self.blocks.grow(&mut seq.blocks, seq.computed + tokens) {
                batch.add(seq, tokens);
                index += 1;
                continue;
            }
            unhindered = false;
            if let Some(mut victim) = self.running.pop() {
                self.blocks.release(&mut victim.blocks);
                victim.computed = 0;
                victim.published = 0;
                self.totals.preemptions += 1;
                self.waiting.push_front(victim);
            }
        }
        unhindered
    }

    /// Starts waiting sequences in order, passing over those whose adapter has no room.
    fn schedule_waiting(&mut self, batch: &mut Batch) {
        let mut index = 0;
        while batch.budget > 0 && self.running.len() < self.limits.max_num_seqs.max(1) as usize {
            let Some(candidate) = self.waiting.get(index) else { break };
            if !self.adapter_fits(candidate) {
                index += 1;
                continue;
            }
            let Some(mut seq) = self.waiting.remove(index) else { break };
            if !self.start(&mut seq, batch) {
                self.waiting.insert(index, seq);
                break;
            }
            self.running.push(seq);
        }
    }

    fn start(&mut self, seq: &mut Sequence, batch: &mut Batch) -> bool {
        let block_size = self.limits.block_size.max(1);
        // The last token is always computed: something has to give the next one.
        let reusable = ((seq.length() - 1) / block_size) as usize;
        seq.blocks = self.blocks.acquire_prefix(&seq.request.block_hashes[..reusable.min(seq.request.block_hashes.len())]);
        let found = seq.blocks.len() as u32 * block_size;
        let rest = seq.request.block_hashes.get(seq.blocks.len()..reusable.min(seq.request.block_hashes.len())).unwrap_or_default();
        let loaded = self.offload.as_mut().map_or(0, |offload| offload.find(rest)) * block_size;
        let hit = (found + loaded).max(seq.request.received_tokens.min(seq.length() - 1));
        let tokens = (seq.length() - hit).min(batch.budget);
        if !self.blocks.grow(&mut seq.blocks, hit + tokens) {
            self.blocks.release(&mut seq.blocks);
            return false;
        }
        seq.computed = hit;
        seq.published = found / block_size;
        if seq.cached_tokens.is_none() {
            // Blocks that another engine has sent count as cached, as in vLLM.
            seq.cached_tokens = Some(hit.min(seq.request.prompt_tokens));
            self.totals.prefix_queries += u64::from(seq.request.prompt_tokens);
            self.totals.prefix_hits += u64::from(found.min(seq.request.prompt_tokens));
        }
        batch.add(seq, tokens);
        batch.loaded += loaded;
        true
    }

    fn adapter_fits(&self, seq: &Sequence) -> bool {
        let Some(name) = &seq.request.adapter else { return true };
        let running = distinct(self.running.iter());
        running.contains(name) || running.len() < self.limits.max_adapters.max(1) as usize
    }
}

/// Work of a step, as it fills up.
struct Batch {
    budget: u32,
    prefill: u32,
    decodes: u32,
    /// Tokens that come back from slower tiers.
    loaded: u32,
}

impl Batch {
    fn add(&mut self, seq: &mut Sequence, tokens: u32) {
        seq.scheduled = tokens;
        self.budget -= tokens;
        match seq.is_decoding() {
            true => self.decodes += 1,
            false => self.prefill += tokens,
        }
    }
}

struct Sequence {
    id: RequestId,
    request: Request,
    blocks: Vec<u32>,
    /// Tokens whose KV entries exist.
    computed: u32,
    /// Tokens that the step under way adds to them.
    scheduled: u32,
    /// The step that has just ended took it further.
    has_advanced: bool,
    generated: u32,
    /// Blocks that others can find.
    published: u32,
    /// Blocks of the first lookup; a preempted sequence does not count twice.
    cached_tokens: Option<u32>,
}

impl Sequence {
    fn new(id: RequestId, mut request: Request) -> Self {
        request.prompt_tokens = request.prompt_tokens.max(1);
        Sequence {
            id,
            request,
            blocks: Vec::new(),
            computed: 0,
            scheduled: 0,
            has_advanced: false,
            generated: 0,
            published: 0,
            cached_tokens: None,
        }
    }

    fn length(&self) -> u32 {
        self.request.prompt_tokens + self.generated
    }

    fn remaining(&self) -> u32 {
        self.length() - self.computed
    }

    fn is_decoding(&self) -> bool {
        self.generated > 0 && self.remaining() == 1
    }

    /// Applies what was scheduled. Returns the blocks that others can find from now on, and could not before.
    fn compute(&mut self, blocks: &mut BlockPool, block_size: u32) -> Vec<Range<usize>> {
        let scheduled = std::mem::take(&mut self.scheduled);
        self.has_advanced = scheduled > 0;
        self.computed += scheduled;
        let full = self.computed / block_size;
        let new = blocks.publish(&self.blocks, &self.request.block_hashes, self.published as usize, full as usize);
        self.published = full;
        new
    }

    /// The event, if a token came out or the prompt is read.
    fn advance(&mut self, totals: &mut Totals) -> Option<Progress> {
        if !self.has_advanced || self.remaining() > 0 {
            return None;
        }
        if self.generated == 0 {
            totals.prompt_tokens += u64::from(self.request.prompt_tokens);
        }
        if self.generated < self.request.output_tokens {
            self.generated += 1;
            totals.generation_tokens += 1;
        }
        Some(Progress {
            id: self.id,
            generated: self.generated,
            cached_tokens: self.cached_tokens.unwrap_or(0),
            finished: self.generated >= self.request.output_tokens,
        })
    }
}

fn distinct<'a>(sequences: impl Iterator<Item = &'a Sequence>) -> Vec<Arc<str>> {
    let mut names: Vec<_> = sequences.filter_map(|seq| seq.request.adapter.clone()).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
