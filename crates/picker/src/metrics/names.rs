//! Engines' names for their figures.

use pailou_snapshot::ModelServer;

/// Meaning of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Requests in the queue.
    Waiting,
    /// Requests that run.
    Running,
    /// Share of the KV cache in use.
    Kv,
    /// Labels with the size of a KV block and the number of blocks.
    CacheConfig {
        /// The size's label.
        size: &'static str,
        /// The number's.
        count: &'static str,
    },
    /// Tokens in a KV block.
    TokensPerBlock,
    /// KV blocks.
    Blocks,
    /// Labels with LoRA adapters.
    Adapters,
    /// When the process started.
    Started,
    /// A count that only grows.
    Served,
    /// Triton's requests, told apart by `request_type`.
    TritonRequests,
    /// Triton's KV blocks, told apart by `kv_cache_block_type`.
    TritonBlocks,
}

impl Meaning {
    /// Whether it is part of an engine's load.
    pub(super) fn is_load(self) -> bool {
        matches!(self, Self::Waiting | Self::Running | Self::Kv | Self::TritonRequests | Self::TritonBlocks)
    }
}

/// The meaning of a metric in an engine's dialect; `None` for those that no pick needs.
pub(super) fn meaning(dialect: ModelServer, name: &[u8]) -> Option<Meaning> {
    if name == b"process_start_time_seconds" {
        return Some(Meaning::Started);
    }
    match dialect {
        ModelServer::Vllm => vllm(name.strip_prefix(b"vllm:")?),
        ModelServer::Sglang => sglang(name.strip_prefix(b"sglang:")?),
        ModelServer::TensorRtLlm => match name.strip_prefix(b"trtllm_") {
            Some(name) => trtllm_serve(name),
            None => triton(name.strip_prefix(b"nv_trt_llm_")?),
        },
    }
}

fn vllm(name: &[u8]) -> Option<Meaning> {
    Some(match name {
        b"num_requests_waiting" => Meaning::Waiting,
        b"num_requests_running" => Meaning::Running,
        // The second is the name before vLLM 0.10.
        b"kv_cache_usage_perc" | b"gpu_cache_usage_perc" => Meaning::Kv,
        b"cache_config_info" => Meaning::CacheConfig { size: "block_size", count: "num_gpu_blocks" },
        b"lora_requests_info" => Meaning::Adapters,
        b"prompt_tokens_total" => Meaning::Served,
        _ => return None,
    })
}

fn sglang(name: &[u8]) -> Option<Meaning> {
    Some(match name {
        b"num_queue_reqs" => Meaning::Waiting,
        b"num_running_reqs" => Meaning::Running,
        b"token_usage" => Meaning::Kv,
        b"cache_config_info" => Meaning::CacheConfig { size: "page_size", count: "num_pages" },
        b"prompt_tokens_total" => Meaning::Served,
        _ => return None,
    })
}

fn trtllm_serve(name: &[u8]) -> Option<Meaning> {
    Some(match name {
        b"num_requests_waiting" => Meaning::Waiting,
        b"num_requests_running" => Meaning::Running,
        b"kv_cache_utilization" => Meaning::Kv,
        b"kv_cache_tokens_per_block" => Meaning::TokensPerBlock,
        b"kv_cache_max_blocks" => Meaning::Blocks,
        b"request_success_total" => Meaning::Served,
        _ => return None,
    })
}

fn triton(name: &[u8]) -> Option<Meaning> {
    Some(match name {
        b"request_metrics" => Meaning::TritonRequests,
        b"kv_cache_block_metrics" => Meaning::TritonBlocks,
        _ => return None,
    })
}
