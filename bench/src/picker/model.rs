//! Time that an engine's step takes. README.md says from which figures the constants come.

use std::time::Duration;

/// An engine's size and speed.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct EngineModel {
    /// Blocks of the KV cache on the GPU.
    pub(super) kv_blocks: u32,
    /// Blocks of the KV cache in the host's memory; 0 is no such tier.
    pub(super) host_blocks: u32,
    /// Most tokens that a step computes (`max_num_batched_tokens`).
    pub(super) step_tokens: u32,
    /// Most requests that run (`max_num_seqs`).
    pub(super) slots: usize,
    /// Adapters that fit beside each other (`max_loras`).
    pub(super) adapters: usize,
    /// Seconds of a step that computes nothing: scheduling, launches.
    pub(super) overhead: f64,
    /// Seconds to read all weights, which every step does.
    pub(super) weights: f64,
    /// Seconds to compute a token, without attention.
    pub(super) token: f64,
    /// Tokens of context at which attention takes as long as the rest of a prompt's token.
    pub(super) attention_tokens: f64,
    /// Seconds to read the KV cache of a token of context, for each request that generates.
    pub(super) context: f64,
    /// Seconds to load the KV cache of a token from the host's memory.
    pub(super) host_token: f64,
    /// Seconds to load an adapter.
    pub(super) adapter_load: f64,
}

/// Content of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct StepWork {
    /// Tokens of prompts, and the mean context of each times their number.
    pub(super) prompt_tokens: f64,
    pub(super) prompt_context: f64,
    /// Requests that generate a token, and their context in all.
    pub(super) decodes: f64,
    pub(super) decode_context: f64,
    /// Tokens that come from the host's memory.
    pub(super) host_tokens: f64,
    pub(super) adapter_loads: f64,
}

impl Default for EngineModel {
    /// Qwen3-32B on two H100.
    fn default() -> Self {
        Self {
            kv_blocks: 307_328 / super::prompt::BLOCK_TOKENS,
            host_blocks: 0,
            step_tokens: 8_192,
            slots: 256,
            adapters: 4,
            overhead: 0.002,
            weights: 0.012,
            token: 1.0 / 15_928.0,
            attention_tokens: 31_250.0,
            context: 50e-9,
            host_token: 2.6e-6,
            adapter_load: 0.05,
        }
    }
}

impl EngineModel {
    /// Length of a step.
    pub(super) fn step(&self, work: &StepWork) -> Duration {
        Duration::from_secs_f64(self.step_seconds(work))
    }

    pub(super) fn step_seconds(&self, work: &StepWork) -> f64 {
        let linear = (work.prompt_tokens + work.decodes) * self.token;
        let attention = work.prompt_context * self.token / self.attention_tokens + work.decode_context * self.context;
        let loads = work.host_tokens * self.host_token + work.adapter_loads * self.adapter_load;
        self.overhead + self.weights.max(linear) + attention + loads
    }

    /// Seconds to compute so many tokens of a prompt after so many that are there.
    pub(super) fn prefill_seconds(&self, tokens: f64, after: f64) -> f64 {
        tokens * self.token * (1.0 + (after + tokens / 2.0) / self.attention_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_read_the_weights_and_large_ones_compute() {
        let model =
            EngineModel { token: 0.0001, weights: 0.01, overhead: 0.001, attention_tokens: 1_000.0, ..EngineModel::default() };
        let seconds = |work| (model.step_seconds(&work) * 1e6).round();
        let decode = StepWork { decodes: 10.0, decode_context: 20_000.0, ..StepWork::default() };
        assert_eq!(seconds(decode), 12_000.0, "1 ms, 10 ms of weights, 1 ms of context");
        let prefill = StepWork { prompt_tokens: 1_000.0, prompt_context: 500_000.0, ..StepWork::default() };
        assert_eq!(seconds(prefill), 151_000.0, "1 ms, 100 ms, half of that for attention");
        assert_eq!((model.prefill_seconds(1_000.0, 0.0) * 1e3).round(), 150.0);
    }
}
