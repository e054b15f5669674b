//! Flags of `pailou sim`.

use std::{net::SocketAddr, path::PathBuf};

use clap::ValueEnum;

/// Flags of `pailou sim`.
#[derive(Debug, clap::Args)]
#[command(after_help = "PAILOU_SIM_API_KEY holds the key that requests must carry. /sim/faults changes faults at run time.")]
pub(crate) struct SimArgs {
    /// Address to listen on; port 0 takes a free port and prints it.
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:8000", env = "PAILOU_SIM_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Value of the response header `x-sim-server`.
    #[arg(long, default_value = "sim", env = "PAILOU_SIM_NAME")]
    pub(crate) name: String,
    /// Model to serve; repeatable. The first is the base of adapters.
    #[arg(short, long = "model", value_name = "NAME", default_value = "qwen", env = "PAILOU_SIM_MODEL")]
    pub(crate) models: Vec<String>,
    /// LoRA adapter to serve; repeatable.
    #[arg(long = "adapter", value_name = "NAME")]
    pub(crate) adapters: Vec<String>,
    /// Adapters that run at the same time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) max_adapters: u32,
    /// Seed of texts and jitter.
    #[arg(long, value_name = "N", default_value_t = 0, env = "PAILOU_SIM_SEED")]
    pub(crate) seed: u64,
    /// Metric names of /metrics.
    #[arg(long, value_enum, value_name = "DIALECT", default_value_t, env = "PAILOU_SIM_DIALECT")]
    pub(crate) dialect: Dialect,
    /// Prefix of API paths, such as /compatible-mode.
    #[arg(long, value_name = "PATH", default_value = "")]
    pub(crate) path_prefix: String,
    /// Directory with tokenizer.json, tokenizer_config.json and chat_template.jinja to tokenize chats and completions by; default: 4 bytes a token.
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Shortest and longest response, in tokens.
    #[arg(long, value_names = ["MIN", "MAX"], num_args = 2, default_values_t = [32, 160])]
    pub(crate) output_tokens: Vec<u32>,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    #[command(flatten)]
    pub(crate) capacity: CapacityArgs,
    #[command(flatten)]
    pub(crate) kv_events: KvEventsArgs,
    #[command(flatten)]
    pub(crate) kv_offload: KvOffloadArgs,
    #[command(flatten)]
    pub(crate) kv_transfer: KvTransferArgs,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Fault in JSON, such as `{"kind":"status","status":503,"times":2}`; repeatable.
    #[arg(long = "fault", value_name = "JSON")]
    pub(crate) faults: Vec<String>,
}

/// Cost of computing.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cost model")]
pub(crate) struct CostArgs {
    /// Respond as fast as possible: every cost is 0.
    #[arg(long)]
    pub(crate) instant: bool,
    /// Wall-clock seconds per second of engine time.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) time_scale: f64,
    /// Microseconds before the scheduler sees a request.
    #[arg(long, value_name = "US")]
    pub(crate) request_us: Option<f64>,
    /// Microseconds every step takes.
    #[arg(long, value_name = "US")]
    pub(crate) step_us: Option<f64>,
    /// Microseconds of a prompt token that is not in the cache.
    #[arg(long, value_name = "US")]
    pub(crate) prefill_us: Option<f64>,
    /// Microseconds of a sequence that decodes a token.
    #[arg(long, value_name = "US")]
    pub(crate) decode_us: Option<f64>,
    /// Relative spread of a step's time, 0 to 1.
    #[arg(long, value_name = "SHARE")]
    pub(crate) jitter: Option<f64>,
}

/// Limits of the engine.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Capacity")]
pub(crate) struct CapacityArgs {
    /// Tokens in a KV block.
    #[arg(long, value_name = "TOKENS", default_value_t = 16)]
    pub(crate) block_size: u32,
    /// KV blocks.
    #[arg(long, value_name = "N", default_value_t = 8192)]
    pub(crate) num_blocks: u32,
    /// Sequences that run at the same time.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_num_seqs: u32,
    /// Tokens computed in one step.
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub(crate) max_num_batched_tokens: u32,
    /// Waiting requests; more: 503.
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    pub(crate) max_waiting: usize,
    /// Longest prompt and output together.
    #[arg(long, value_name = "TOKENS", default_value_t = 32_768)]
    pub(crate) max_model_len: u32,
}

/// KV events by ZeroMQ.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "KV events")]
pub(crate) struct KvEventsArgs {
    /// Address to publish KV events on, as vLLM does; all models but adapters are names of one then.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) kv_events_listen: Option<SocketAddr>,
    /// Address to replay the last 10,000 batches on.
    #[arg(long, value_name = "ADDRESS", requires = "kv_events_listen")]
    pub(crate) kv_events_replay_listen: Option<SocketAddr>,
    /// Form of the events: maps as of vLLM 0.26, or arrays as before.
    #[arg(long, value_enum, value_name = "ENCODING", default_value_t)]
    pub(crate) kv_events_encoding: Encoding,
    /// Topic of the events.
    #[arg(long, value_name = "TOPIC", default_value = "")]
    pub(crate) kv_events_topic: String,
}

/// KV blocks beyond the GPU.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "KV offloading")]
pub(crate) struct KvOffloadArgs {
    /// KV blocks that the CPU's memory holds beside the GPU's.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) kv_cpu_blocks: u32,
    /// KV blocks that a disk holds of those that have left the CPU's memory.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) kv_disk_blocks: u32,
    /// Microseconds that a token's KV cache takes back to the GPU.
    #[arg(long, value_name = "US", default_value_t = 0.0)]
    pub(crate) kv_load_us: f64,
}

/// Form of KV events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// A map of names.
    #[default]
    Map,
    /// Positions.
    Array,
}

/// Prefill and decode apart.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Prefill and decode apart")]
pub(crate) struct KvTransferArgs {
    /// Part of a request that the engine computes; without it, all.
    #[arg(long, value_enum, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
    /// Protocol by which engines hand KV cache over.
    #[arg(long, value_enum, value_name = "CONNECTOR", default_value_t, requires = "role")]
    pub(crate) kv_connector: Connector,
    /// Address of SGLang's or Mooncake's bootstrap server, of an engine that prefills.
    #[arg(long, value_name = "ADDRESS", requires = "role")]
    pub(crate) bootstrap_listen: Option<SocketAddr>,
    /// Time that a token's KV cache takes on its way, in µs.
    #[arg(long, value_name = "US", default_value_t = 0.0, requires = "role")]
    pub(crate) transfer_us: f64,
}

/// Role of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Computes prompts for others.
    Prefill,
    /// Generates after a prefill elsewhere.
    Decode,
    /// Both.
    Both,
}

/// Protocol by which engines hand KV cache over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Connector {
    /// vLLM's NixlConnector.
    #[default]
    Nixl,
    /// SGLang's bootstrap server.
    Sglang,
    /// vLLM's MooncakeConnector.
    Mooncake,
    /// TensorRT-LLM's `disaggregated_params`.
    TrtLlm,
}

/// TLS and key.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessArgs {
    /// Certificate chain in PEM: serve TLS.
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// File with the key that requests must carry.
    #[arg(long, value_name = "PATH", env = "PAILOU_SIM_API_KEY_FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
}

/// Metric names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    /// vLLM's.
    #[default]
    Vllm,
    /// SGLang's.
    Sglang,
    /// TensorRT-LLM's.
    Trtllm,
}
