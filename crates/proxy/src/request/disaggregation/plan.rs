//! Decision for a request: whether its prompt is worth a prefill elsewhere, and what picks the endpoint for it.

use std::{net::SocketAddr, sync::Arc};

use pailou_ai::{Api, asks_one_answer, can_transfer};
use pailou_picker::{PickError, PickRequest, Picked, PromptTokens, Stage, criticality};
use pailou_snapshot::{Disaggregation, EndpointRole, KvConnector};

use super::handover::Handover;
use crate::{cluster::ClusterState, request_input::ReadBody};

/// A request whose prompt another endpoint may prefill.
pub(crate) struct Plan {
    pub(super) settings: Disaggregation,
    /// The pool.
    pub(super) cluster: Arc<ClusterState>,
    /// The request's API.
    pub(super) api: Api,
    /// Enough of the prompt is not cached where it is decoded.
    is_worth_it: bool,
    tokens: Option<PromptTokens>,
    subset: Option<Vec<SocketAddr>>,
    priority: i32,
    /// A prefill of an attempt before, for as long as no endpoint has seen what it handed over.
    pub(super) prefilled: Option<Prefilled>,
    /// The place of a prefill that llm-d's sidecar asks for, until the first content.
    pub(crate) sidecars: Option<Box<Picked>>,
}

/// A prefill that has ended before its decode.
pub(super) struct Prefilled {
    /// The reply's word on where the KV cache is.
    pub(super) handover: Handover,
    /// Tokens of the prompt that were cached.
    pub(super) cached: Option<u64>,
    /// The endpoint.
    pub(super) name: Arc<str>,
    pub(super) address: Option<SocketAddr>,
}

/// A request and what a pick for it depends on.
pub(crate) struct Subject<'a> {
    pub(crate) call: &'a ReadBody,
    pub(crate) path: &'a str,
    pub(crate) tokens: Option<PromptTokens>,
    pub(crate) subset: Option<Vec<SocketAddr>>,
    pub(crate) priority: i32,
}

impl Plan {
    /// Whether another endpoint may have to prefill for the one that is picked. SGLang's engine that decodes cannot, although none is there.
    pub(crate) fn is_for(settings: &Disaggregation, cluster: &ClusterState, picked: &Picked) -> bool {
        let cannot = settings.connector == KvConnector::Sglang && picked.endpoint().endpoint().role == EndpointRole::Decode;
        cannot || cluster.pool().is_some_and(|pool| pool.has_prefill())
    }

    /// The plan for a request whose decode is picked; `None` where its prompt is prefilled there in any case: the protocol cannot say it.
    pub(crate) fn new(
        settings: Disaggregation,
        cluster: &Arc<ClusterState>,
        picked: &Picked,
        subject: Subject<'_>,
    ) -> Option<Box<Self>> {
        let Subject { call, path, tokens, subset, priority } = subject;
        let api = Api::from_path(path).filter(|api| is_told_apart(settings.connector, *api))?;
        let scan = call.scan()?;
        let prompts = if api == Api::Completions { scan.prompts(call.text()) } else { 0 };
        let is_single = || prompts <= 1 && asks_one_answer(api, call.text());
        let is_possible = match settings.connector {
            KvConnector::Nixl | KvConnector::Mooncake | KvConnector::TensorRtLlm => is_single() && can_transfer(api, call.text()),
            KvConnector::LlmdSidecar => can_transfer(api, call.text()),
            KvConnector::Sglang => true,
        };
        let is_worth_it = is_possible && picked.uncached_tokens() >= u64::from(settings.min_uncached_tokens);
        let cluster = Arc::clone(cluster);
        Some(Box::new(Self { settings, cluster, api, is_worth_it, tokens, subset, priority, prefilled: None, sidecars: None }))
    }

    /// Whether another endpoint is to prefill for one of this role. SGLang's that decode alone never prefill.
    pub(super) fn is_remote(&self, role: EndpointRole) -> bool {
        match self.settings.connector {
            KvConnector::Sglang => self.must_be_remote(role),
            _ => self.is_worth_it,
        }
    }

    /// Whether an endpoint of this role cannot do without.
    pub(super) fn must_be_remote(&self, role: EndpointRole) -> bool {
        let is_alone = || self.cluster.pool().is_none_or(|pool| !pool.has_prefill());
        let cannot = role == EndpointRole::Decode || role == EndpointRole::Whole && !is_alone();
        self.settings.connector == KvConnector::Sglang && cannot
    }

    /// Reserves a place for the prefill of a request, whose model the engine knows by this name, for a decode at this endpoint. `None`: that
    /// itself is the best for it.
    ///
    /// # Errors
    /// No endpoint is there for it, or none has room.
    pub(super) fn pick(&self, call: &ReadBody, model: Option<&str>, decode: SocketAddr) -> Result<Option<Picked>, PickError> {
        let scan = call.scan();
        let asked = scan.and_then(|scan| scan.model.as_deref());
        // The end of a sidecar's is heard with the first content of the decode alone.
        let is_own = self.settings.connector != KvConnector::LlmdSidecar;
        let picked = self.cluster.pick(&PickRequest {
            model: model.or(asked).unwrap_or(""),
            prompt: scan.and_then(|scan| call.text().get(scan.prompt.clone()?)).unwrap_or(&[]),
            cache_salt: scan.and_then(|scan| scan.cache_salt.as_deref()),
            criticality: criticality(self.priority),
            input_bytes: call.text().len(),
            max_tokens: Some(1),
            subset: self.subset.as_deref(),
            tokens: self.tokens.as_ref(),
            stage: Stage::Prefill,
            tells_prefill: is_own || scan.is_some_and(|scan| scan.stream),
            ..PickRequest::default()
        })?;
        let picked = self.suitable(picked).ok_or(PickError::NoEndpoints)?;
        let is_elsewhere = picked.endpoint().endpoint().address.socket() != Some(decode);
        Ok(is_elsewhere.then_some(picked))
    }

    /// The place at the next endpoint for the prefill, after the present one has failed, by its own fault or not.
    pub(super) fn next(&self, mut picked: Picked, is_fault: bool) -> Option<Picked> {
        let moved = if is_fault { picked.fail_over() } else { picked.pass_over() };
        if moved { self.suitable(picked) } else { None }
    }

    /// The place at the first endpoint that prefills by the pool's protocol: an engine of SGLang's that does both is one on its own.
    fn suitable(&self, mut picked: Picked) -> Option<Picked> {
        while self.settings.connector == KvConnector::Sglang && picked.endpoint().endpoint().role != EndpointRole::Prefill {
            if !picked.pass_over() {
                return None;
            }
        }
        Some(picked)
    }
}

/// Whether a protocol has members for the two parts of such requests.
fn is_told_apart(connector: KvConnector, api: Api) -> bool {
    match connector {
        KvConnector::Nixl | KvConnector::Mooncake => {
            matches!(api, Api::ChatCompletions | Api::Completions | Api::Responses | Api::Messages | Api::Generate)
        }
        KvConnector::Sglang | KvConnector::TensorRtLlm | KvConnector::LlmdSidecar => {
            matches!(api, Api::ChatCompletions | Api::Completions)
        }
    }
}
