//! Weights of llm-d's scorers, for pools that are configured with them.

/// A weight for each scorer; 0 leaves it out. Each scores endpoints from 0 to 1, the best 1; the sum of all decides. Source: llm-d's
/// `EndpointPickerConfig`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScorerWeights {
    /// `queue-scorer`: requests that wait, between the shortest queue and the longest.
    pub queue: f32,
    /// `running-requests-size-scorer`: the same of requests that run.
    pub running: f32,
    /// `kv-cache-utilization-scorer`: share of the KV cache that is free.
    pub kv_cache: f32,
    /// `prefix-cache-scorer`: share of the prompt that is cached.
    pub prefix: f32,
    /// Its `matchLengthWeight`, 0 to 1: part of that score that counts tokens instead of their share.
    pub prefix_length: f32,
    /// Its `matchLengthScaleTokens`, above 0: so many tokens are all of that part.
    pub prefix_length_tokens: f32,
    /// `lora-affinity-scorer`: fitness to run the adapter.
    pub adapter: f32,
    /// `load-aware-scorer`: half, less the share of its threshold that waits.
    pub load_aware: f32,
    /// Its `threshold`, in requests, above 0.
    pub load_threshold: f32,
    /// `active-request-scorer`: requests under way from here, against the most at any endpoint.
    pub active_requests: f32,
    /// Its `idleThreshold`: up to so many requests score 1.
    pub idle_requests: f32,
    /// Its `maxBusyScore`, 0 to 1: the best score beyond that.
    pub most_busy_score: f32,
    /// `token-load-scorer`: tokens under way from here, with the request's own that are not cached.
    pub token_load: f32,
    /// Its `queueThresholdTokens`, above 0: so many tokens score 0.
    pub most_tokens: f32,
    /// `no-hit-lru-scorer`: new prompts that the endpoint was given lately, for one more.
    pub no_hit: f32,
    /// `context-length-aware`: fitness of the context lengths that the endpoint is for.
    pub context_length: f32,
    /// Its `enableFiltering`: endpoints for other lengths get no requests.
    pub filters_context: bool,
}

impl Default for ScorerWeights {
    /// No scorer, and llm-d's defaults of their parameters.
    fn default() -> Self {
        Self {
            queue: 0.0,
            running: 0.0,
            kv_cache: 0.0,
            prefix: 0.0,
            prefix_length: 0.0,
            prefix_length_tokens: 8192.0,
            adapter: 0.0,
            load_aware: 0.0,
            load_threshold: 128.0,
            active_requests: 0.0,
            idle_requests: 0.0,
            most_busy_score: 1.0,
            token_load: 0.0,
            most_tokens: 4_194_304.0,
            no_hit: 0.0,
            context_length: 0.0,
            filters_context: false,
        }
    }
}
