//! A picker that sees every engine as it is, and the length of every output: the bound that others are measured against.
//!
//! It sends a request where its first token comes soonest, by the engine's own model of time, and adds the delay that the request
//! means for others there. It is greedy: it knows nothing of requests to come.

use std::{collections::HashMap, rc::Rc, time::Duration};

use crate::picker::{
    lru::HashedMap,
    model::StepWork,
    policy::{EndpointPicker, PickCall, PoolMembers, ReplicaId, cheapest},
    prompt::BLOCK_TOKENS,
    replica::Replica,
};

/// Weight of the engine's time that a prompt takes, which requests after it wait for.
const PREFILL_OF_OTHERS: f64 = 1.0;
/// Weight of the time by which a request's context delays those that generate beside it.
const DECODE_OF_OTHERS: f64 = 0.05;

/// The omniscient picker.
pub(super) struct Omniscient {
    random: fastrand::Rng,
    members: PoolMembers,
    /// Requests without a first token.
    pending: HashMap<usize, Pending>,
    queues: HashMap<ReplicaId, Queue>,
}

struct Pending {
    replica: ReplicaId,
    blocks: Rc<[u64]>,
    /// Tokens to compute.
    tokens: u32,
}

/// Requests at a replica without a first token.
#[derive(Default)]
struct Queue {
    /// Their blocks, which will be cached there, by the number of requests.
    blocks: HashedMap<u32>,
    /// Tokens to compute for them.
    tokens: u64,
}

/// Consequences of sending a request to a replica.
struct Forecast {
    /// Tokens of its prompt to compute.
    tokens: u32,
    cost: f64,
}

impl Omniscient {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        Self { random, members: PoolMembers::default(), pending: HashMap::new(), queues: HashMap::new() }
    }

    fn forget(&mut self, id: usize) {
        let Some(Pending { replica, blocks, tokens }) = self.pending.remove(&id) else { return };
        let Some(queue) = self.queues.get_mut(&replica) else { return };
        queue.tokens = queue.tokens.saturating_sub(u64::from(tokens));
        for hash in blocks.iter() {
            if let Some(count) = queue.blocks.get_mut(hash) {
                *count -= 1;
                if *count == 0 {
                    queue.blocks.remove(hash);
                }
            }
        }
    }

    fn forecast(&self, call: &PickCall<'_>, id: ReplicaId, replica: &Replica, now: Duration) -> Forecast {
        let model = replica.model();
        let queue = self.queues.get(&id);
        let prompt = &call.blocks[..((call.prompt_tokens - 1) / BLOCK_TOKENS) as usize];
        let has = |hash: &u64| replica.kv().has(*hash) || queue.is_some_and(|queue| queue.blocks.contains_key(hash));
        let cached = prompt.partition_point(has) as u32 * BLOCK_TOKENS;
        let tokens = call.prompt_tokens - cached;
        let own = model.prefill_seconds(f64::from(tokens), f64::from(cached));

        let is_decoding = |sequence: &&super::super::replica::Sequence| sequence.generated > 0;
        let decoding: Vec<_> = replica.running.iter().filter(is_decoding).collect();
        let decode_context = decoding.iter().map(|sequence| f64::from(sequence.computed)).sum();
        let decodes = StepWork { decodes: decoding.len() as f64, decode_context, ..StepWork::default() };
        let begun: u32 =
            replica.running.iter().filter(|sequence| sequence.generated == 0).map(|sequence| sequence.prefilled()).sum();
        let ahead = queue.map_or(0, |queue| queue.tokens).saturating_sub(u64::from(begun)) as f64;
        let step = replica.step_ends().map_or(0.0, |end| end.saturating_sub(now).as_secs_f64());
        let room = f64::from(model.step_tokens).max(1.0);
        let steps = ((ahead + f64::from(tokens)) / room).ceil().max(1.0);
        let first = step + steps * model.step_seconds(&decodes) + ahead * model.token + own;

        let context = f64::from(call.prompt_tokens) + f64::from(call.output) / 2.0;
        let slowdown = context * model.context * f64::from(call.output) * (decoding.len() + replica.waiting.len()) as f64;
        let adapter = call.adapter.is_some_and(|adapter| !replica.has_adapter(adapter));
        let load = if adapter { 4.0 * model.adapter_load } else { 0.0 };
        let room = Self::wait_for_room(call, replica, cached, model.step_seconds(&decodes));
        Forecast { tokens, cost: first + room + load + PREFILL_OF_OTHERS * own + DECODE_OF_OTHERS * slowdown }
    }

    /// Seconds until requests that end have left room in the KV cache for this one and those that wait.
    fn wait_for_room(call: &PickCall<'_>, replica: &Replica, cached: u32, step: f64) -> f64 {
        let queued: u32 = replica.waiting.iter().chain(&replica.incoming).map(|sequence| sequence.prompt / BLOCK_TOKENS).sum();
        let needed = queued + (call.prompt_tokens + call.output - cached) / BLOCK_TOKENS;
        let growth: u32 = replica.running.iter().map(|sequence| (sequence.output - sequence.generated) / 2 / BLOCK_TOKENS).sum();
        let missing = (needed + growth).saturating_sub(replica.kv().free());
        if missing == 0 || replica.running.is_empty() {
            return 0.0;
        }
        let each = (replica.kv().used() as usize / replica.running.len()).max(1);
        let mut left: Vec<u32> = replica.running.iter().map(|sequence| sequence.output - sequence.generated).collect();
        left.sort_unstable();
        let ends = (missing as usize / each).min(left.len() - 1);
        let beyond = missing as f64 / (each * left.len()) as f64;
        f64::from(left[ends]) * step * beyond.max(1.0)
    }
}

impl EndpointPicker for Omniscient {
    fn pick(&mut self, call: &PickCall<'_>, replicas: &[Replica], now: Duration) -> Option<ReplicaId> {
        let mut choices = self.members.choices(now);
        choices.retain(|replica| replicas[*replica].life().is_alive);
        let forecasts: HashMap<_, _> =
            choices.iter().map(|replica| (*replica, self.forecast(call, *replica, &replicas[*replica], now))).collect();
        let picked = cheapest(&choices, &mut self.random, |replica| forecasts[&replica].cost)?;
        let blocks: Rc<[u64]> = call.blocks[..(call.prompt_tokens / BLOCK_TOKENS) as usize].into();
        let queue = self.queues.entry(picked).or_default();
        let tokens = forecasts[&picked].tokens;
        queue.tokens += u64::from(tokens);
        blocks.iter().for_each(|hash| *queue.blocks.entry(*hash).or_default() += 1);
        self.pending.insert(call.id, Pending { replica: picked, blocks, tokens });
        Some(picked)
    }

    fn fail_over(&mut self, call: &PickCall<'_>, from: ReplicaId, replicas: &[Replica], now: Duration) -> Option<ReplicaId> {
        self.members.failed(from, now);
        self.forget(call.id);
        self.pick(call, replicas, now)
    }

    fn first_token(&mut self, id: usize, _: Duration) {
        self.forget(id);
    }

    fn end(&mut self, id: usize, _: Option<u32>, _: u32, _: Duration) {
        self.forget(id);
    }

    fn set_members(&mut self, members: &[ReplicaId], _: Duration) {
        self.members.set(members);
    }
}
