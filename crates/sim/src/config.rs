use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pailou_tokenizer::ModelTokenizer;
use serde::Deserialize;

use crate::engine::{CostModel, Limits, OffloadLimits};
use crate::faults::Fault;

/// Options of a simulated server. Every field has a default; unknown fields are errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to bind; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The server's name, which every response bears in `x-sim-server`.
    pub name: String,
    /// Names of the models served; the first labels the metrics and is the base of adapters.
    pub models: Vec<String>,
    /// LoRA adapters loaded from the start, each a model name of its own.
    pub adapters: Vec<String>,
    /// Different adapters that may run at the same time.
    pub max_adapters: u32,
    /// Cost of computing.
    pub cost: CostModel,
    /// Wall-clock seconds per second of engine time: 1 is real time, 0 as fast as possible.
    pub time_scale: f64,
    /// Seed of generated texts and of the cost model's jitter.
    pub seed: u64,
    /// Tokens in a KV block.
    pub block_size: u32,
    /// Number of KV blocks.
    pub num_blocks: u32,
    /// Sequences that run at the same time.
    pub max_num_seqs: u32,
    /// Tokens computed in one step.
    pub max_num_batched_tokens: u32,
    /// Requests that wait at most; more are answered 503.
    pub max_waiting: usize,
    /// Longest prompt and output together, in tokens; never more than the KV cache holds.
    pub max_model_len: u32,
    /// Least and greatest length of an answer that nothing cuts short, in tokens.
    pub output_tokens: (u32, u32),
    /// Length of an embedding unless the request asks for another.
    pub embedding_dimensions: u32,
    /// Largest request body read, in bytes; larger is answered 413.
    pub max_body_bytes: usize,
    /// Engine whose metric names `/metrics` uses.
    pub metrics: MetricsDialect,
    /// Serve TLS (ALPN `h2`, `http/1.1`) instead of plain text.
    pub tls: Option<Tls>,
    /// Key that calls under `/v1` must bear.
    pub api_key: Option<Secret>,
    /// Path under which the API lives, such as `/compatible-mode`; empty for none.
    pub path_prefix: String,
    /// Publish KV events, as vLLM does. All models but adapters are names of one then, for events do not name it.
    pub kv_events: Option<KvEvents>,
    /// Tokenize prompts of chats and completions by a model's own files, instead of four bytes a token.
    #[serde(skip)]
    pub tokenizer: Option<Arc<ModelTokenizer>>,
    /// Keep KV blocks beyond the GPU.
    pub kv_offload: Option<OffloadLimits>,
    /// Prefill and decode apart.
    pub kv_transfer: Option<KvTransfer>,
    /// Faults injected from the start.
    pub faults: Vec<Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            name: "sim".to_owned(),
            models: vec!["qwen".to_owned()],
            adapters: Vec::new(),
            max_adapters: 4,
            cost: CostModel::default(),
            time_scale: 1.0,
            seed: 0,
            block_size: 16,
            num_blocks: 8192,
            max_num_seqs: 256,
            max_num_batched_tokens: 8192,
            max_waiting: 16_384,
            max_model_len: 32_768,
            output_tokens: (32, 160),
            embedding_dimensions: 256,
            max_body_bytes: 64 << 20,
            metrics: MetricsDialect::default(),
            tls: None,
            api_key: None,
            path_prefix: String::new(),
            kv_events: None,
            tokenizer: None,
            kv_offload: None,
            kv_transfer: None,
            faults: Vec::new(),
        }
    }
}

impl Config {
    /// A server called `name` that serves `models`, otherwise by default.
    pub fn new<M: Into<String>>(name: impl Into<String>, models: impl IntoIterator<Item = M>) -> Self {
        Config { name: name.into(), models: models.into_iter().map(Into::into).collect(), ..Config::default() }
    }

    /// The same server answering as fast as it can.
    pub fn instant(self) -> Self {
        Config { cost: CostModel::instant(), time_scale: 0.0, ..self }
    }

    /// The longest context, which the KV cache bounds.
    pub(crate) fn context_length(&self) -> u32 {
        self.max_model_len.min(self.block_size.saturating_mul(self.num_blocks))
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            block_size: self.block_size,
            num_blocks: self.num_blocks,
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            max_adapters: self.max_adapters,
            max_waiting: self.max_waiting,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("block_size", self.block_size),
            ("num_blocks", self.num_blocks),
            ("max_num_seqs", self.max_num_seqs),
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_adapters", self.max_adapters),
            ("max_model_len", self.max_model_len),
            ("embedding_dimensions", self.embedding_dimensions),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Zero { field });
        }
        if self.num_blocks > MAX_BLOCKS {
            return Err(ConfigError::TooManyBlocks);
        }
        if self.models.is_empty() {
            return Err(ConfigError::NoModel);
        }
        if http::HeaderValue::from_str(&self.name).is_err() {
            return Err(ConfigError::Name);
        }
        if self.kv_transfer.as_ref().is_some_and(|it| !(it.us_per_token >= 0.0 && it.timeout_seconds >= 0.0)) {
            return Err(ConfigError::Cost);
        }
        if self.kv_offload.is_some_and(|it| !it.load_us_per_token.is_finite() || it.load_us_per_token < 0.0) {
            return Err(ConfigError::Cost);
        }
        if !self.cost.is_valid() || !self.time_scale.is_finite() || self.time_scale < 0.0 {
            return Err(ConfigError::Cost);
        }
        let prefix = &self.path_prefix;
        if !prefix.is_empty() && (!prefix.starts_with('/') || prefix.ends_with('/')) {
            return Err(ConfigError::PathPrefix);
        }
        Ok(())
    }
}

/// Blocks a server may have: at 32 bytes of bookkeeping each, half a gigabyte.
const MAX_BLOCKS: u32 = 1 << 24;

/// Error of a [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A size that must be at least 1 is 0.
    #[error("{field} must be at least 1")]
    Zero {
        /// The field's name.
        field: &'static str,
    },
    /// `num_blocks` is more than 2^24.
    #[error("num_blocks must be at most {MAX_BLOCKS}")]
    TooManyBlocks,
    /// No model is named.
    #[error("models must name at least one model")]
    NoModel,
    /// The name cannot stand in a header.
    #[error("name must be a valid header value")]
    Name,
    /// A cost is negative, infinite or not a number.
    #[error("cost and time_scale must be finite and not negative, jitter at most 1")]
    Cost,
    /// The path prefix is not of the form `/a/b`.
    #[error("path_prefix must start with a slash and not end with one")]
    PathPrefix,
}

/// Engine whose names `/metrics` uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsDialect {
    /// vLLM's.
    #[default]
    Vllm,
    /// SGLang's.
    Sglang,
    /// TensorRT-LLM's (`trtllm-serve`).
    #[serde(alias = "tensorrt-llm", alias = "trt-llm")]
    Trtllm,
}

/// Sockets and form of KV events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvEvents {
    /// Address of the PUB socket; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the ROUTER socket, which replays the last 10,000 batches; port 0 takes a free one.
    #[serde(default)]
    pub replay_listen: Option<SocketAddr>,
    /// Form of the events.
    #[serde(default)]
    pub encoding: EventEncoding,
    /// Topic of all batches.
    #[serde(default)]
    pub topic: String,
}

/// Form of KV events in MessagePack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventEncoding {
    /// A map of names, as of vLLM 0.26.
    #[default]
    Map,
    /// Positions, as before.
    Array,
}

/// An engine's part where prefill and decode are apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvTransfer {
    /// Its role.
    pub role: Role,
    /// The protocol.
    #[serde(default)]
    pub connector: KvConnector,
    /// Address of SGLang's or Mooncake's bootstrap server, of an engine that prefills; port 0 takes a free one.
    #[serde(default)]
    pub bootstrap_listen: Option<SocketAddr>,
    /// Engine time, in µs, that a token of a prompt takes on its way.
    #[serde(default)]
    pub us_per_token: f64,
    /// Seconds of wall-clock time that an engine waits for another.
    #[serde(default = "default_patience")]
    pub timeout_seconds: f64,
}

fn default_patience() -> f64 {
    30.0
}

impl KvTransfer {
    /// A role by this protocol, otherwise by default.
    pub fn new(role: Role, connector: KvConnector) -> Self {
        Self { role, connector, bootstrap_listen: None, us_per_token: 0.0, timeout_seconds: default_patience() }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout_seconds).unwrap_or(Duration::MAX)
    }
}

/// Role of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Computes prompts for others.
    Prefill,
    /// Generates after a prefill elsewhere.
    Decode,
    /// Both: by SGLang's protocol, an engine on its own.
    Both,
}

/// Protocol by which engines hand KV cache over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KvConnector {
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

/// A server certificate and its key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain in PEM, leaf first.
    pub cert_pem: String,
    /// The private key in PEM.
    pub key_pem: Secret,
}

/// A string that `Debug` does not show, and that is not serialised.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The string itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<S: Into<String>> From<S> for Secret {
    fn from(secret: S) -> Self {
        Secret(secret.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_is_the_default_and_a_typo_is_refused() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config.block_size, Config::default().block_size);
        assert!(serde_json::from_str::<Config>(r#"{"blok_size": 1}"#).is_err());
    }

    #[test]
    fn debug_output_hides_credentials() {
        let config = Config { api_key: Some("sk-very-secret".into()), ..Config::default() };
        assert!(!format!("{config:?}").contains("sk-very"));
    }

    #[test]
    fn impossible_values_are_named() {
        let check = |config: Config| config.validate().unwrap_err();
        assert_eq!(check(Config { num_blocks: 0, ..Config::default() }), ConfigError::Zero { field: "num_blocks" });
        assert_eq!(check(Config { models: vec![], ..Config::default() }), ConfigError::NoModel);
        assert_eq!(check(Config { time_scale: f64::NAN, ..Config::default() }), ConfigError::Cost);
        assert_eq!(check(Config { path_prefix: "x".into(), ..Config::default() }), ConfigError::PathPrefix);
    }
}
