//! Prefill and decode apart in an InferencePool, from its annotations.

use std::time::Duration;

use pailou_api::Meta;
use pailou_snapshot::{Disaggregation, KvConnector, ModelServer, PickerKind};

use crate::annotation::{number, time};

const CONNECTOR_ANNOTATION: &str = "pailou.dev/kv-connector";
pub(crate) const MIN_UNCACHED_ANNOTATION: &str = "pailou.dev/prefill-min-uncached-tokens";
const TIMEOUT_ANNOTATION: &str = "pailou.dev/prefill-timeout";
const BOOTSTRAP_PORT_ANNOTATION: &str = "pailou.dev/prefill-bootstrap-port";
/// All annotations that are read here.
pub(crate) const ANNOTATIONS: [&str; 4] =
    [CONNECTOR_ANNOTATION, MIN_UNCACHED_ANNOTATION, TIMEOUT_ANNOTATION, BOOTSTRAP_PORT_ANNOTATION];

/// A prefill of fewer tokens takes an engine no longer than the way to another one.
const DEFAULT_MIN_UNCACHED: u32 = 512;
/// Most tokens that an annotation may ask for: more than any model's context.
const MOST_MIN_UNCACHED: u32 = 1 << 24;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time that an annotation may ask for.
const MOST_TIMEOUT: Duration = Duration::from_secs(3600);
/// SGLang's `--disaggregation-bootstrap-port`, and vLLM's `VLLM_MOONCAKE_BOOTSTRAP_PORT`, where they are not set.
const DEFAULT_BOOTSTRAP_PORT: u16 = 8998;

/// Prefill apart as a pool's annotations have it, or else as its engine does it; `None` where the engines have no protocol for it that is
/// known. Pods that prefill decide whether it is used. A value that is none is ignored, with a warning.
pub(crate) fn disaggregation(
    meta: &Meta,
    runtime: ModelServer,
    picker: &PickerKind,
    warnings: &mut Vec<String>,
) -> Option<Disaggregation> {
    let connector = connector(meta, runtime, warnings);
    let min_uncached_tokens = number(meta, MIN_UNCACHED_ANNOTATION, MOST_MIN_UNCACHED, warnings);
    let prefill_timeout = time(meta, TIMEOUT_ANNOTATION, MOST_TIMEOUT, warnings);
    let bootstrap_port = number(meta, BOOTSTRAP_PORT_ANNOTATION, u32::from(u16::MAX), warnings);
    let present = || ANNOTATIONS.into_iter().filter(|annotation| meta.annotation(annotation).is_some());
    if let PickerKind::External { .. } = picker {
        let why = "has no effect where endpointPickerRef's endpoint picker chooses";
        warnings.extend(present().map(|annotation| format!("annotation {annotation} {why}")));
        return None;
    }
    let Some(connector) = connector else {
        let others = present().filter(|annotation| *annotation != CONNECTOR_ANNOTATION);
        warnings.extend(others.map(|annotation| format!("annotation {annotation} has no effect without a {CONNECTOR_ANNOTATION}")));
        return None;
    };
    let has_bootstrap = matches!(connector, KvConnector::Sglang | KvConnector::Mooncake);
    if !has_bootstrap && meta.annotation(BOOTSTRAP_PORT_ANNOTATION).is_some() {
        warnings.push(format!(
            "annotation {BOOTSTRAP_PORT_ANNOTATION} has no effect unless {CONNECTOR_ANNOTATION} is sglang or mooncake"
        ));
    }
    let idle = match connector {
        KvConnector::Sglang => {
            Some((MIN_UNCACHED_ANNOTATION, "where engines that decode cannot prefill: all prompts are prefilled elsewhere"))
        }
        KvConnector::LlmdSidecar => Some((TIMEOUT_ANNOTATION, "where llm-d's sidecar sends the prefill")),
        KvConnector::Nixl | KvConnector::Mooncake | KvConnector::TensorRtLlm => None,
    };
    let idle = idle.filter(|(annotation, _)| meta.annotation(annotation).is_some());
    warnings.extend(idle.map(|(annotation, why)| format!("annotation {annotation} has no effect {why}")));
    Some(Disaggregation {
        connector,
        min_uncached_tokens: min_uncached_tokens.unwrap_or(DEFAULT_MIN_UNCACHED),
        prefill_timeout: prefill_timeout.unwrap_or(DEFAULT_TIMEOUT),
        bootstrap_port: bootstrap_port.map_or(DEFAULT_BOOTSTRAP_PORT, |port| port as u16),
    })
}

/// The connector that is named, or the engine's own.
fn connector(meta: &Meta, runtime: ModelServer, warnings: &mut Vec<String>) -> Option<KvConnector> {
    let of_engine = match runtime {
        ModelServer::Vllm => Some(KvConnector::Nixl),
        ModelServer::Sglang => Some(KvConnector::Sglang),
        ModelServer::TensorRtLlm => Some(KvConnector::TensorRtLlm),
    };
    match meta.annotation(CONNECTOR_ANNOTATION).map(str::trim) {
        None => of_engine,
        Some("nixl") => Some(KvConnector::Nixl),
        Some("sglang") => Some(KvConnector::Sglang),
        Some("mooncake") => Some(KvConnector::Mooncake),
        Some("trt-llm") => Some(KvConnector::TensorRtLlm),
        Some("llm-d-sidecar") => Some(KvConnector::LlmdSidecar),
        Some("none") => None,
        Some(other) => {
            warnings.push(format!(
                "annotation {CONNECTOR_ANNOTATION}: {other:?} is not supported (nixl, mooncake, sglang, trt-llm, llm-d-sidecar or none): \
                 endpoints that decode compute the prompts themselves"
            ));
            None
        }
    }
}
