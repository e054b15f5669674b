//! Scores: load against affinity, in one figure.
//!
//! The weights are the reference scheduler's (queue 2, KV cache 2, prefix 3, adapter 1). Its queue score is a rank between the
//! shortest and the longest queue, by which one request more or less can outweigh everything; here load counts in
//! proportion and without bound, so that affinity wins while an endpoint is merely busy and loses once it is overloaded.

use std::cmp::Ordering;

use crate::{load::Load, metrics::Adapters};

const QUEUE: f32 = 2.0;
const KV: f32 = 2.0;
const PREFIX: f32 = 3.0;
const ADAPTER: f32 = 1.0;

/// Waiting requests that weigh as much as [`QUEUE`]; also where a queue counts as saturated, as upstream.
pub(crate) const QUEUE_LIMIT: f32 = 5.0;
/// Share of the KV cache above which an endpoint counts as saturated, as upstream.
pub(crate) const KV_LIMIT: f32 = 0.8;
/// Running requests that weigh as much as [`QUEUE`].
const BATCH: f32 = 64.0;
/// Scores closer than this are ties, which chance decides. Less than what one request in flight weighs.
const TIE: f32 = 0.01;
/// Bytes of prompt whose prefill is too short to be worth an affinity: half a prefix's weight is reached at this length.
const SHORT_PROMPT: f32 = 1024.0;

/// An endpoint as one pick saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidate {
    /// Its place among the pool's endpoints.
    pub(crate) member: u32,
    /// Endpoints of a lower priority value come first.
    pub(crate) priority: u8,
    /// It has just failed, or health checks rule it out: it comes last.
    pub(crate) failing: bool,
    pub(crate) load: Load,
    /// Bytes at the beginning of the prompt that are probably cached.
    pub(crate) prefix: u32,
    /// How well it is placed to run the adapter, 0 to 1.
    pub(crate) adapter: f32,
    /// The client's earlier requests went there.
    pub(crate) is_preferred: bool,
    pub(crate) score: f32,
}

impl Candidate {
    /// Computes the score, for a prompt of so many bytes.
    pub(crate) fn judge(&mut self, prompt_bytes: usize) {
        let load = &self.load;
        let queue = load.waiting / QUEUE_LIMIT + load.running / BATCH;
        let prefix = self.prefix as f32 / (prompt_bytes as f32 + SHORT_PROMPT);
        self.score = PREFIX * prefix + ADAPTER * self.adapter - QUEUE * queue - KV * load.kv + fastrand::f32() * TIE;
    }

    /// Best first.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let last = self.failing.cmp(&other.failing);
        let by_score = || other.is_preferred.cmp(&self.is_preferred).then(other.score.total_cmp(&self.score));
        last.then(self.priority.cmp(&other.priority)).then_with(by_score)
    }

    /// How full the endpoint is: 1 has no room. Capped there: an endpoint with a long queue does not fill its idle siblings.
    pub(crate) fn saturation(&self) -> f32 {
        (self.load.waiting / QUEUE_LIMIT).max(self.load.certain_kv / KV_LIMIT).min(1.0)
    }
}

/// How well an engine with these adapters is placed to run a model: running 1, room for one more 0.8, waiting for room 0.6.
pub(crate) fn adapter_affinity(adapters: Option<&Adapters>, model: &str) -> f32 {
    let Some(adapters) = adapters else { return 0.0 };
    if adapters.running.iter().any(|name| **name == *model) {
        1.0
    } else if adapters.running.len() + adapters.waiting.len() < adapters.max as usize {
        0.8
    } else if adapters.waiting.iter().any(|name| **name == *model) {
        0.6
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapters(max: u32, running: &[&str], waiting: &[&str]) -> Adapters {
        let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        Adapters { max, running: names(running), waiting: names(waiting) }
    }

    #[test]
    fn a_running_adapter_beats_room_beats_waiting_beats_none() {
        let affinity = |adapters: Adapters| adapter_affinity(Some(&adapters), "sql");
        assert_eq!(affinity(adapters(2, &["sql", "chat"], &[])), 1.0);
        assert_eq!(affinity(adapters(2, &["chat"], &[])), 0.8);
        assert_eq!(affinity(adapters(2, &["chat", "code"], &["sql"])), 0.6);
        assert_eq!(affinity(adapters(2, &["chat", "code"], &[])), 0.0);
        assert_eq!(adapter_affinity(None, "sql"), 0.0);
    }
}
