//! An engine as vLLM schedules: continuous batching, prompts in chunks within a budget of tokens a step, preemption.

mod sequence;

use std::{collections::VecDeque, fmt::Write as _, time::Duration};

pub(super) use self::sequence::Sequence;
use super::{
    kv::{KvCache, KvEvent},
    model::{EngineModel, StepWork},
    prompt::BLOCK_TOKENS,
};

/// One engine. [`Replica::begin_step`] and [`Replica::end_step`] alternate while it has work.
pub(super) struct Replica {
    model: EngineModel,
    kv: KvCache,
    /// Requests on their way to it.
    pub(super) incoming: Vec<Sequence>,
    pub(super) waiting: VecDeque<Sequence>,
    pub(super) running: Vec<Sequence>,
    /// Adapters in its memory, the least recently used first.
    adapters: Vec<u16>,
    /// End of the step under way.
    step_ends: Option<Duration>,
    life: Life,
    stats: EngineStats,
}

/// One process of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) is_alive: bool,
    /// Processes so far: events of earlier ones are void.
    pub(super) number: u32,
    started: Duration,
}

/// Figures as its metrics show them: of the end of its last step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct EngineStats {
    pub(super) waiting: usize,
    pub(super) running: usize,
    /// Share of the KV cache in use.
    pub(super) kv: f64,
    /// Tokens of the KV cache.
    pub(super) kv_tokens: u64,
    /// Adapters that run and that wait.
    pub(super) running_adapters: Vec<u16>,
    pub(super) waiting_adapters: Vec<u16>,
    max_adapters: usize,
    started: Duration,
    prompt_tokens: u64,
}

/// A request that a step began to compute for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) id: usize,
    /// Tokens of its prompt that were cached.
    pub(super) hit_tokens: u32,
}

/// Result of a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StepResult {
    pub(super) first_tokens: Vec<usize>,
    pub(super) finished: Vec<usize>,
}

impl Replica {
    pub(super) fn new(model: &EngineModel) -> Self {
        Self {
            kv: KvCache::new(model.kv_blocks, model.host_blocks as usize),
            model: model.clone(),
            incoming: Vec::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            adapters: Vec::new(),
            step_ends: None,
            life: Life::default(),
            stats: EngineStats::default(),
        }
    }

    pub(super) fn kv(&self) -> &KvCache {
        &self.kv
    }

    pub(super) fn model(&self) -> &EngineModel {
        &self.model
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }

    /// End of the step under way.
    pub(super) fn step_ends(&self) -> Option<Duration> {
        self.step_ends
    }

    pub(super) fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Requests at it.
    pub(super) fn requests(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    pub(super) fn take_events(&mut self) -> Vec<KvEvent> {
        self.kv.take_events()
    }

    /// Whether it has an adapter in its memory.
    pub(super) fn has_adapter(&self, adapter: u16) -> bool {
        self.adapters.contains(&adapter)
    }

    /// Starts its process, with nothing cached.
    pub(super) fn start(&mut self, now: Duration) {
        self.life = Life { is_alive: true, number: self.life.number + 1, started: now };
        self.stats = EngineStats {
            kv_tokens: u64::from(self.kv.capacity() * BLOCK_TOKENS),
            max_adapters: self.model.adapters,
            started: now,
            ..EngineStats::default()
        };
    }

    /// Ends its process; returns the requests that were at it.
    pub(super) fn kill(&mut self) -> Vec<usize> {
        let lost = self.waiting.drain(..).chain(self.running.drain(..)).map(|sequence| sequence.id).collect();
        self.kv = KvCache::new(self.model.kv_blocks, self.model.host_blocks as usize);
        self.adapters.clear();
        self.step_ends = None;
        self.life.is_alive = false;
        lost
    }

    /// Moves a request that has arrived into the queue.
    pub(super) fn deliver(&mut self, id: usize) {
        if let Some(at) = self.incoming.iter().position(|sequence| sequence.id == id) {
            self.waiting.push_back(self.incoming.remove(at));
        }
    }

    /// A request on its way that the engine does not get.
    pub(super) fn refuse(&mut self, id: usize) {
        self.incoming.retain(|sequence| sequence.id != id);
    }

    /// Plans the next step; its end, and the requests it is the first for. `None`: there is nothing to do, or a step is under way.
    pub(super) fn begin_step(&mut self, now: Duration) -> Option<(Duration, Vec<Admission>)> {
        if self.step_ends.is_some() || !self.life.is_alive || self.requests() == 0 {
            return None;
        }
        let mut work = StepWork::default();
        let mut budget = self.model.step_tokens;
        let preempted = self.plan_running(&mut budget, &mut work);
        let admissions = if preempted { Vec::new() } else { self.admit(&mut budget, &mut work) };
        let end = now + self.model.step(&work);
        self.step_ends = Some(end);
        Some((end, admissions))
    }

    /// Ends the step under way.
    pub(super) fn end_step(&mut self) -> StepResult {
        self.step_ends = None;
        let mut result = StepResult::default();
        for sequence in self.running.iter_mut().filter(|sequence| sequence.planned > 0) {
            sequence.computed += std::mem::take(&mut sequence.planned);
            if sequence.computed == sequence.known() {
                sequence.generated += 1;
                if sequence.generated == 1 {
                    result.first_tokens.push(sequence.id);
                }
            }
        }
        let kv = &mut self.kv;
        let served = &mut self.stats.prompt_tokens;
        self.running.retain_mut(|sequence| {
            let has_ended = sequence.generated >= sequence.output;
            if has_ended {
                sequence.release(kv);
                *served += u64::from(sequence.prompt);
                result.finished.push(sequence.id);
            }
            !has_ended
        });
        self.note_stats();
        result
    }

    /// Plans requests that run; whether one had to make room for another.
    fn plan_running(&mut self, budget: &mut u32, work: &mut StepWork) -> bool {
        let mut preempted = false;
        let mut at = 0;
        while at < self.running.len() && *budget > 0 {
            let tokens = self.running[at].needed().min(*budget);
            while self.running.get(at).is_some_and(|sequence| sequence.growth(tokens, &self.kv) > self.kv.free()) {
                preempted = true;
                if let Some(mut victim) = self.running.pop() {
                    victim.release(&mut self.kv);
                    self.waiting.push_front(victim);
                }
            }
            let Some(sequence) = self.running.get_mut(at) else { break };
            sequence.plan(tokens, &mut self.kv, work);
            *budget -= tokens;
            at += 1;
        }
        preempted
    }

    /// Moves requests from the queue to the batch while there is room; those whose adapter has none are passed over.
    fn admit(&mut self, budget: &mut u32, work: &mut StepWork) -> Vec<Admission> {
        let mut admissions = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() && *budget > 0 && self.running.len() < self.model.slots {
            let sequence = &self.waiting[at];
            if sequence.adapter.is_some_and(|adapter| !self.has_room_for(adapter)) {
                at += 1;
                continue;
            }
            let hit = sequence.hit(&self.kv);
            let cached = (hit.gpu + hit.host) * BLOCK_TOKENS;
            let tokens = (sequence.known() - cached).min(*budget);
            if sequence.growth(cached + tokens, &self.kv) > self.kv.free() {
                break;
            }
            let Some(mut sequence) = self.waiting.remove(at) else { break };
            if sequence.take_hit(hit, &mut self.kv, work) {
                admissions.push(Admission { id: sequence.id, hit_tokens: cached });
            }
            sequence.plan(tokens, &mut self.kv, work);
            if let Some(adapter) = sequence.adapter {
                self.load_adapter(adapter, work);
            }
            *budget -= tokens;
            self.running.push(sequence);
        }
        admissions
    }

    fn has_room_for(&self, adapter: u16) -> bool {
        let is_running = |adapter: &u16| self.running.iter().any(|sequence| sequence.adapter == Some(*adapter));
        self.adapters.contains(&adapter)
            || self.adapters.len() < self.model.adapters
            || self.adapters.iter().any(|adapter| !is_running(adapter))
    }

    fn load_adapter(&mut self, adapter: u16, work: &mut StepWork) {
        if let Some(at) = self.adapters.iter().position(|loaded| *loaded == adapter) {
            self.adapters.remove(at);
        } else {
            work.adapter_loads += 1.0;
            if self.adapters.len() >= self.model.adapters {
                let running = &self.running;
                let is_running = |adapter: u16| running.iter().any(|sequence| sequence.adapter == Some(adapter));
                if let Some(at) = self.adapters.iter().position(|loaded| !is_running(*loaded)) {
                    self.adapters.remove(at);
                }
            }
        }
        self.adapters.push(adapter);
    }

    fn note_stats(&mut self) {
        let adapters = |sequences: &mut dyn Iterator<Item = &Sequence>| {
            let mut adapters: Vec<u16> = sequences.filter_map(|sequence| sequence.adapter).collect();
            adapters.sort_unstable();
            adapters.dedup();
            adapters
        };
        // A long queue is not searched where nobody asks for adapters.
        if !self.adapters.is_empty() {
            self.stats.running_adapters = adapters(&mut self.running.iter());
            self.stats.waiting_adapters = adapters(&mut self.waiting.iter());
        }
        self.stats.waiting = self.waiting.len();
        self.stats.running = self.running.len();
        self.stats.kv = f64::from(self.kv.used()) / f64::from(self.kv.capacity());
    }
}

impl EngineStats {
    /// lora-affinity-scorer's figure: loaded 1, room 0.8, waiting 0.6, else 0.
    pub(super) fn adapter_affinity(&self, adapter: u16) -> f64 {
        if self.running_adapters.contains(&adapter) {
            1.0
        } else if self.running_adapters.len() + self.waiting_adapters.len() < self.max_adapters {
            0.8
        } else if self.waiting_adapters.contains(&adapter) {
            0.6
        } else {
            0.0
        }
    }

    /// The page of metrics, in vLLM's names.
    pub(super) fn page(&self) -> String {
        let names = |adapters: &[u16]| adapters.iter().map(|adapter| adapter_name(*adapter)).collect::<Vec<_>>().join(",");
        let mut page = format!(
            "vllm:num_requests_running {}\nvllm:num_requests_waiting {}\nvllm:kv_cache_usage_perc {}\n\
             vllm:cache_config_info{{block_size=\"{BLOCK_TOKENS}\",num_gpu_blocks=\"{}\"}} 1\n\
             process_start_time_seconds {}\nvllm:prompt_tokens_total {}\n",
            self.running,
            self.waiting,
            self.kv,
            self.kv_tokens / u64::from(BLOCK_TOKENS),
            self.started.as_secs_f64() + 1.0,
            self.prompt_tokens,
        );
        if !(self.running_adapters.is_empty() && self.waiting_adapters.is_empty()) {
            // Writing to a string cannot fail.
            let _ = writeln!(
                page,
                "vllm:lora_requests_info{{max_lora=\"{}\",running_lora_adapters=\"{}\",waiting_lora_adapters=\"{}\"}} 1",
                self.max_adapters,
                names(&self.running_adapters),
                names(&self.waiting_adapters),
            );
        }
        page
    }
}

/// The name under which clients ask for an adapter.
pub(super) fn adapter_name(adapter: u16) -> String {
    format!("adapter-{adapter}")
}

#[cfg(test)]
mod tests;
