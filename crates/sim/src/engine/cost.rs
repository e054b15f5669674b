use std::time::Duration;

use serde::Deserialize;

/// Cost of a step of the engine, in microseconds of engine time.
///
/// `step = step_us + prefill_us_per_token × uncached prompt tokens + decode_us_per_seq × decoding sequences`, then varied by ±
/// `jitter`. The linear form is the usual first approximation of continuous batching: prefill is bound by arithmetic, decode by
/// reading the weights once per step for all sequences.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CostModel {
    /// Time a request spends before the scheduler sees it (parsing, tokenising), in µs.
    pub request_us: f64,
    /// Fixed cost of a step, in µs.
    pub step_us: f64,
    /// Cost of a prompt token that was not in the prefix cache, in µs.
    pub prefill_us_per_token: f64,
    /// Cost of a sequence that decodes one token in the step, in µs.
    pub decode_us_per_seq: f64,
    /// Relative spread of a step's duration, 0 to 1.
    pub jitter: f64,
}

impl Default for CostModel {
    /// A mid-size model on one GPU: a short prompt's first token after about 100 ms, then some 50 tokens a second.
    fn default() -> Self {
        CostModel { request_us: 70_000.0, step_us: 19_000.0, prefill_us_per_token: 140.0, decode_us_per_seq: 250.0, jitter: 0.05 }
    }
}

impl CostModel {
    /// Every step is free: the server answers as fast as it can.
    pub fn instant() -> Self {
        CostModel { request_us: 0.0, step_us: 0.0, prefill_us_per_token: 0.0, decode_us_per_seq: 0.0, jitter: 0.0 }
    }

    /// Whether every number is finite and not negative, and the jitter at most 1.
    pub fn is_valid(&self) -> bool {
        [self.request_us, self.step_us, self.prefill_us_per_token, self.decode_us_per_seq, self.jitter]
            .iter()
            .all(|us| us.is_finite() && *us >= 0.0)
            && self.jitter <= 1.0
    }

    /// Duration of a step over `prefill` uncached prompt tokens and `decodes` decoding sequences; `spread` in −1..=1
    /// scales the jitter.
    pub(super) fn step(&self, prefill: u32, decodes: u32, spread: f64) -> Duration {
        let us = self.step_us + self.prefill_us_per_token * f64::from(prefill) + self.decode_us_per_seq * f64::from(decodes);
        Duration::try_from_secs_f64(us * (1.0 + self.jitter * spread) / 1e6).unwrap_or(Duration::MAX)
    }
}
