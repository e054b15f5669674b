//! Annotations of an InferencePool by which its engines are known and its endpoints chosen.

use pailou_api::{InferencePool, endpoint_picker_config::ENDPOINT_PICKER_CONFIG_ANNOTATION};
use pailou_snapshot::{ModelServer, RoutingStrategy};

use crate::{backend_limits::LIMIT_ANNOTATION, disaggregation, kv_events, queueing};

pub(crate) const RUNTIME_ANNOTATION: &str = "inference.networking.x-k8s.io/model-server-runtime";
pub(crate) const STRATEGY_ANNOTATION: &str = "inference.networking.x-k8s.io/routing-strategy";
/// Domains whose annotations mean something to a gateway: the Inference Extension's and ours.
const DOMAINS: [&str; 3] = ["inference.networking.x-k8s.io/", "inference.networking.k8s.io/", "pailou.dev/"];

/// The engine of the pool's Pods: vLLM unless annotated.
pub(crate) fn runtime(pool: &InferencePool, warnings: &mut Vec<String>) -> ModelServer {
    match pool.meta.annotation(RUNTIME_ANNOTATION) {
        None | Some("vllm" | "") => ModelServer::Vllm,
        Some("sglang") => ModelServer::Sglang,
        Some("trt-llm") => ModelServer::TensorRtLlm,
        Some(other) => {
            warnings.push(format!(
                "annotation {RUNTIME_ANNOTATION}: {other} is not known (sglang, trt-llm, or none for vLLM): vLLM is taken"
            ));
            ModelServer::Vllm
        }
    }
}

/// The built-in picker's strategy. ACK's default, named `DEFAULT`, is load alone; a pool that names none is better served by prefixes too.
pub(crate) fn strategy(pool: &InferencePool, warnings: &mut Vec<String>) -> RoutingStrategy {
    match pool.meta.annotation(STRATEGY_ANNOTATION) {
        None | Some("PREFIX_CACHE" | "") => RoutingStrategy::PrefixCache,
        Some("DEFAULT") => RoutingStrategy::Load,
        Some(other) => {
            warnings.push(format!(
                "annotation {STRATEGY_ANNOTATION}: {other} is not known (PREFIX_CACHE, or DEFAULT for load alone): PREFIX_CACHE is taken"
            ));
            RoutingStrategy::PrefixCache
        }
    }
}

/// Warns of annotations in these domains that are not acted on.
pub(crate) fn warn_of_unknown(pool: &InferencePool, warnings: &mut Vec<String>) {
    let own = [RUNTIME_ANNOTATION, STRATEGY_ANNOTATION, LIMIT_ANNOTATION, ENDPOINT_PICKER_CONFIG_ANNOTATION];
    let is_known = |key: &str| {
        own.iter()
            .chain(&kv_events::ANNOTATIONS)
            .chain(&queueing::ANNOTATIONS)
            .chain(&disaggregation::ANNOTATIONS)
            .any(|known| *known == key)
    };
    let keys = pool.meta.annotations.keys().filter(|key| DOMAINS.iter().any(|domain| key.starts_with(domain)));
    warnings.extend(keys.filter(|key| !is_known(key)).map(|key| format!("annotation {key} is not acted on")));
}
