//! A request on its way into an InferencePool: what its endpoint is picked by, and the body as the engine wants it.

use std::{net::SocketAddr, sync::Arc};

use http::header;
use pailou_ai::{Pieces, Scan, splice, splice_model, transfer_edits};
use pailou_extproc::endpoints::Subset;
use pailou_picker::{Affinity, Objective, PickError, PickRequest, Picked, PromptTokens, TokensWay, criticality, priority};
use pailou_snapshot::{ClusterKind, Pool, PoolModel};

use super::{
    disaggregation::{Plan, Subject},
    outgoing::Outgoing,
    pool_headers::PoolHeaders,
    prompt::{KnownPrompt, engine_name},
    selection::{Selection, no_endpoint},
    target::Target,
    unreadable,
};
use crate::{
    cluster::{ClusterSettings, ClusterState},
    context::Waiting,
    error::{Error, Flag},
    headers,
    request_input::ReadBody,
};

/// A request for a pool, before an endpoint is picked.
pub(super) struct PoolTarget<'a> {
    pub(super) cluster: Arc<ClusterState>,
    settings: Arc<ClusterSettings>,
    call: Option<&'a ReadBody>,
    scan: Option<&'a Scan>,
    /// The model's name as the client has it; empty if it names none.
    asked: &'a str,
    model: Option<Arc<PoolModel>>,
    /// The engine's name for it, where that is another.
    target_model: Option<Arc<str>>,
    body: Option<Pieces>,
    subset: Option<Vec<SocketAddr>>,
    /// Tokens of the prompt, where they are known.
    tokens: Option<PromptTokens>,
    tokens_way: Option<TokensWay>,
    affinity: Option<Affinity>,
    pub(super) priority: i32,
    /// Times that the client wants kept.
    objective: Objective,
    /// The body goes without what the client says of other engines' KV cache.
    takes_transfer: bool,
}

impl<'a> PoolTarget<'a> {
    /// Properties that a pick depends on.
    ///
    /// # Errors
    /// 400 or 415 where the body of a model call cannot be read.
    pub(super) fn new(
        pool: &Pool,
        cluster: Arc<ClusterState>,
        settings: Arc<ClusterSettings>,
        (outgoing, call): (&Outgoing, Option<&'a ReadBody>),
        (affinity, prompt): (Option<Affinity>, Option<KnownPrompt>),
    ) -> Result<Self, Error> {
        let scan = call.and_then(|call| call.scan());
        let is_apart = pool.disaggregation.is_some() || cluster.pool().is_some_and(|pool| pool.has_roles());
        if scan.is_none() {
            unreadable::check(outgoing, call, is_apart)?;
        }
        let asked = scan.and_then(|scan| scan.model.as_deref()).unwrap_or("");
        let model = pool.model(asked).cloned();
        let (target_model, tokens) = match prompt {
            Some(prompt) => (prompt.target_model, Some(prompt.tokens)),
            None => (engine_name(pool, asked), None),
        };
        let tokens_way = tokens.as_ref().and_then(|tokens| tokens.as_ref().map_or_else(|way| Some(*way), PromptTokens::way));
        let takes_transfer = is_apart && scan.is_some_and(|scan| scan.has_transfer);
        let body = match (call, scan, &target_model) {
            (Some(call), Some(scan), Some(name)) if !takes_transfer => Some(splice_model(call.text(), scan, name)),
            (Some(call), Some(scan), name) if takes_transfer => Some(without_transfer(call, scan, name.as_deref())?),
            _ => None,
        };
        let headers = PoolHeaders::read(&outgoing.headers);
        let subset = outgoing.subset().map(|subset| eligible(&cluster, subset));
        let priority = priority(pool, model.as_deref(), headers.inference_objective());
        let objective = headers.objective();
        Ok(Self {
            cluster,
            settings,
            call,
            scan,
            asked,
            model,
            target_model,
            body,
            subset,
            tokens: tokens.and_then(Result::ok),
            tokens_way,
            affinity,
            priority,
            objective,
            takes_transfer,
        })
    }

    /// The request as the picker sees it.
    pub(super) fn request(&self) -> PickRequest<'_> {
        PickRequest {
            model: self.target_model.as_deref().unwrap_or(self.asked),
            prompt: self.call.zip(self.scan).and_then(|(call, scan)| call.text().get(scan.prompt.clone()?)).unwrap_or(&[]),
            cache_salt: self.scan.and_then(|scan| scan.cache_salt.as_deref()),
            criticality: criticality(self.priority),
            priority: self.priority,
            input_bytes: self.call.map_or(0, |call| call.text().len()),
            max_tokens: self.scan.and_then(|scan| scan.max_tokens),
            subset: self.subset.as_deref(),
            tokens: self.tokens.as_ref(),
            tokens_way: self.tokens_way,
            affinity: self.affinity,
            objective: self.objective,
            tells_prefill: self.scan.is_some_and(|scan| scan.stream),
            ..PickRequest::default()
        }
    }

    /// Counts the request's body among those that only wait.
    ///
    /// # Errors
    /// Too much waits already.
    pub(super) fn begin_wait(&self) -> Result<Option<Waiting>, Error> {
        self.call.map(|call| call.share.begin_wait()).transpose()
    }

    /// Whether the request may wait that was not picked for.
    pub(super) fn may_wait(&self, error: PickError) -> bool {
        self.cluster.pool().is_some_and(|pool| pool.may_wait(&self.request(), error))
    }

    /// The error of a request that was not picked for.
    pub(super) fn refusal(&self, error: PickError) -> Error {
        match error {
            PickError::NoEndpoints => Error { not_picked: Some(error.outcome()), ..no_endpoint(&self.cluster) },
            _ => Error::not_picked(error, &self.cluster.key().endpoints),
        }
    }

    /// The target with the endpoints that were picked.
    pub(super) fn picked(mut self, picked: Picked, outgoing: &mut Outgoing) -> Target {
        let plan = self.plan(&picked, outgoing);
        if self.body.is_some() {
            headers::remove_digests(&mut outgoing.headers);
            if self.call.is_some_and(|call| call.decoded.is_some()) {
                outgoing.headers.remove(header::CONTENT_ENCODING);
            }
        }
        let keeps_name = self.target_model.is_some() && self.model.is_some_and(|model| model.keeps_name);
        let kept_name = keeps_name.then(|| self.asked.into());
        let selection = Selection::picked(self.cluster, picked);
        let mut target = Target::plain(self.settings, selection);
        target.plan = plan;
        target.takes_transfer = self.takes_transfer;
        (target.body, target.target_model, target.kept_name) = (self.body, self.target_model, kept_name);
        target
    }
}

impl PoolTarget<'_> {
    /// Plan by which another endpoint may prefill for the one that is picked.
    fn plan(&mut self, picked: &Picked, outgoing: &Outgoing) -> Option<Box<Plan>> {
        let ClusterKind::Pool(pool) = &self.settings.cluster.kind else { return None };
        let call = self.call?;
        let settings = pool.disaggregation.filter(|settings| Plan::is_for(settings, &self.cluster, picked))?;
        let (tokens, subset) = (self.tokens.take(), self.subset.take());
        let subject = Subject { call, path: outgoing.path(), tokens, subset, priority: self.priority };
        Plan::new(settings, &self.cluster, picked, subject)
    }
}

/// The body without what the client says of other engines' KV cache, and with the engine's name for the model.
fn without_transfer(call: &ReadBody, scan: &Scan, name: Option<&str>) -> Result<Pieces, Error> {
    let unreadable = |_| Error::new(Flag::BadRequest, "the request's body cannot be read");
    let mut edits = transfer_edits(call.text()).map_err(unreadable)?;
    edits.extend(name.map(|name| scan.model_edits(name)).unwrap_or_default());
    Ok(splice(call.text(), edits))
}

/// The endpoints of a pool that are in a subset.
pub(super) fn eligible(cluster: &ClusterState, subset: &str) -> Vec<SocketAddr> {
    let subset = Subset::parse([subset]);
    let endpoints = cluster.endpoints();
    let addresses = endpoints.iter().filter_map(|endpoint| endpoint.endpoint().address.socket());
    addresses.filter(|address| subset.contains(*address)).collect()
}
