//! Self-hosted models: an InferencePool with the models, rewrites and objectives that refer to it.

use std::{sync::Arc, time::Duration};

use foldhash::HashMap;

use super::{ClusterKey, Endpoint, Failure, Name, ScorerWeights, UpstreamTls};

/// An InferencePool without its endpoints.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The InferencePool.
    pub name: Name,
    /// The dialect of its engines' metrics.
    pub runtime: ModelServer,
    /// How an endpoint is chosen.
    pub strategy: RoutingStrategy,
    /// Scorers by which an endpoint is chosen in place of the picker's own score; `None` unless they are configured.
    pub scorers: Option<Arc<ScorerWeights>>,
    /// The same where an endpoint is chosen that only computes the prompt; `None`: as for others.
    pub prefill_scorers: Option<Arc<ScorerWeights>>,
    /// The picker that chooses it.
    pub picker: PickerKind,
    /// By the model's name in the request: what InferenceModel and InferenceModelRewrite say of it.
    pub models: HashMap<Arc<str>, Arc<PoolModel>>,
    /// For models without an entry of their own: an InferenceModelRewrite without matches.
    pub any_model: Option<Arc<PoolModel>>,
    /// Priority by InferenceObjective name (`x-gateway-inference-objective`, `x-llm-d-inference-objective`).
    pub objectives: HashMap<Arc<str>, i32>,
    /// Where its engines publish KV cache events; `None` if they do not.
    pub kv_events: Option<KvEvents>,
    /// How requests wait while it is saturated; `None` if they do not.
    pub queueing: Option<Queueing>,
    /// Protocol by which its endpoints that prefill serve those that decode, where it has such; `None` if they do not.
    pub disaggregation: Option<Disaggregation>,
}

impl Pool {
    /// A pool that the built-in picker chooses endpoints of, with nothing else configured.
    pub fn new(name: Name, runtime: ModelServer, strategy: RoutingStrategy) -> Self {
        Self {
            name,
            runtime,
            strategy,
            scorers: None,
            prefill_scorers: None,
            picker: PickerKind::BuiltIn,
            models: HashMap::default(),
            any_model: None,
            objectives: HashMap::default(),
            kv_events: None,
            queueing: None,
            disaggregation: None,
        }
    }
}

/// Prefill at one endpoint and decode at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disaggregation {
    /// The way of the KV cache from one to the other.
    pub connector: KvConnector,
    /// Fewest tokens of a prompt that are worth another endpoint's prefill: those that the endpoint that decodes has not cached.
    pub min_uncached_tokens: u32,
    /// Longest time of a prefill.
    pub prefill_timeout: Duration,
    /// Port of SGLang's or Mooncake's bootstrap server at endpoints that prefill.
    pub bootstrap_port: u16,
}

/// Protocol by which engines hand KV cache over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvConnector {
    /// vLLM's NixlConnector: one after the other, with `kv_transfer_params`.
    Nixl,
    /// SGLang's bootstrap server: both at once, with a room.
    Sglang,
    /// vLLM's MooncakeConnector: both at once, with an identifier of the transfer, and the engine that its bootstrap server names.
    Mooncake,
    /// TensorRT-LLM's: one after the other, with `disaggregated_params`.
    TensorRtLlm,
    /// llm-d's sidecar beside the engine that decodes, which prefills where a header says.
    LlmdSidecar,
}

/// Bounds of the requests that wait in the gateway while a pool is saturated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queueing {
    /// Most requests of one priority that wait.
    pub max_requests: u32,
    /// Most bytes of their bodies together.
    pub max_bytes: u64,
    /// How long a request waits at the most.
    pub timeout: Duration,
    /// Requests under way at which an endpoint has no room for more; `None` judges by its engine's own figures alone.
    pub max_concurrency: Option<u32>,
    /// Percent of the room of every endpoint that requests below the highest priority of late leave to it; 0 to [`Self::MAX_RESERVE`].
    pub reserve: u8,
    /// Whether requests of negative priority that are under way are broken off for more important ones that wait.
    pub evicts: bool,
}

impl Queueing {
    /// Most percent of an endpoint's room that lower priorities leave to the highest.
    pub const MAX_RESERVE: u8 = 90;
}

/// Sockets on which each engine of a pool publishes KV cache events (vLLM's and SGLang's `--kv-events-config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvEvents {
    /// Port of the first data-parallel rank's PUB socket; rank r has this plus r.
    pub port: u16,
    /// The same of the ROUTER sockets that send earlier batches again.
    pub replay_port: Option<u16>,
    /// Data-parallel ranks of each pod, 1 to 64: of its only endpoint, or one of each endpoint, by ascending port.
    pub ranks: u16,
    /// Most blocks that are remembered of all engines together.
    pub max_blocks: u32,
}

impl Pool {
    /// Settings of a model; the least that an unknown model gets is the default.
    pub fn model(&self, name: &str) -> Option<&Arc<PoolModel>> {
        self.models.get(name).or(self.any_model.as_ref())
    }
}

/// A model as a pool serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolModel {
    /// Treatment of its requests when the pool is saturated.
    pub criticality: Criticality,
    /// The names of which one is put into the body, by weight; empty leaves the client's.
    pub targets: Vec<ModelTarget>,
    /// Responses name the model as the client did (InferenceModelRewrite), not as the engine does (InferenceModel, whose target is
    /// how clients see a canary release).
    pub keeps_name: bool,
}

/// A name to send the engine, with its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTarget {
    /// The engine's name for the model or adapter.
    pub name: Arc<str>,
    /// Its share, against the sum of all; at least 1.
    pub weight: u32,
}

/// How important requests are. Ordered: the more important is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Criticality {
    /// Refused with 429 when the pool is saturated and requests do not wait (InferenceObjective: a negative priority).
    Sheddable,
    /// Served as long as there is room.
    #[default]
    Standard,
    /// Always served.
    Critical,
}

/// Engines whose metrics are understood (annotation `inference.networking.x-k8s.io/model-server-runtime`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ModelServer {
    /// vLLM, when nothing is said.
    #[default]
    Vllm,
    /// SGLang (`sglang`).
    Sglang,
    /// TensorRT-LLM (`trt-llm`), `trtllm-serve` or Triton.
    TensorRtLlm,
}

/// How the built-in picker chooses (annotation `inference.networking.x-k8s.io/routing-strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoutingStrategy {
    /// By load alone (`DEFAULT`).
    Load,
    /// By load and the part of the prompt an engine has in its cache, when nothing is said (`PREFIX_CACHE`).
    #[default]
    PrefixCache,
}

/// The picker that chooses a pool's endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PickerKind {
    /// The built-in picker.
    BuiltIn,
    /// An endpoint picker of the user's, spoken to by Envoy's ext_proc protocol.
    External {
        /// The cluster of its Service, which is among the snapshot's.
        cluster: ClusterKey,
        /// Treatment of requests when it does not answer.
        failure_mode: FailureMode,
        /// Longest time that it takes, which may hold requests back until there is room for them.
        timeout: Duration,
        /// The pool's configuration has requests wait, which `pailou picker` reads too.
        queues: bool,
    },
}

/// Treatment of requests when an external picker does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureMode {
    /// The gateway chooses by itself.
    FailOpen,
    /// 503.
    FailClose,
}

/// One InferencePool by itself, as an endpoint picker sees it: no Gateway and no route need lead to it.
#[derive(Clone, Debug)]
pub struct OnePool {
    /// The pool. Its picker is the built-in one, whatever its `endpointPickerRef` names: the picker itself asks.
    pub pool: Arc<Pool>,
    /// Its ready pods on each of its ports.
    pub endpoints: Vec<Endpoint>,
    /// TLS towards them, or why TLS that was asked for cannot be had.
    pub tls: Result<Option<Arc<UpstreamTls>>, Failure>,
    /// Fields that the picker does not act on, and why, for the log.
    pub warnings: Vec<String>,
}
