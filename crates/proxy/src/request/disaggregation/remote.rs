//! An attempt with a prefill at another endpoint.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, StatusCode, header};
use pailou_ai::{Api, CachedTokens, Pieces, ScanError};
use pailou_picker::{PickError, Picked};
use pailou_snapshot::{Endpoint, KvConnector};
use tokio::time::Instant;

use super::{
    bodies,
    handover::Handover,
    leg::{Leg, LegFailure, Why},
    plan::{Plan, Prefilled},
};
use crate::{
    backend_body::BackendBody,
    cluster::{Attempt, AttemptOutcome},
    content_coding::is_plain,
    error::{Error, Flag},
    headers,
    metrics::PrefillOutcome,
    prefilled_body::PrefilledBody,
    relay::Clocks,
    request::{
        answer::BackendResponse,
        attempt::{Attempts, unsendable},
        request_id,
        target::Target,
        tried::{Failed, Tried, late},
    },
    request_input::ReadBody,
    request_log::RequestLog,
};

/// Endpoints that are asked for one prefill.
pub(super) const MAX_PREFILLS: usize = 3;

/// A prefill elsewhere that is not to be had.
enum Unprefilled {
    /// The endpoint that decodes can do it.
    Locally,
    /// The request ends with this.
    Ended(Tried),
}

impl Attempts<'_> {
    /// One attempt of a request that another endpoint may prefill.
    pub(in crate::request) async fn attempt_apart(&mut self, attempt: &Attempt, clocks: Clocks, record: &mut RequestLog) -> Tried {
        let Some(mut plan) = self.target.plan.take() else { return self.attempt(attempt, clocks, record).await };
        request_id::ensure(&mut self.outgoing.headers);
        self.outgoing.headers.remove(headers::PREFILLER);
        // The body is not the client's, and its text where that was compressed.
        headers::remove_digests(&mut self.outgoing.headers);
        if self.body.call().is_some_and(|call| call.decoded.is_some()) {
            self.outgoing.headers.remove(header::CONTENT_ENCODING);
        }
        plan.sidecars = None;
        record.prefill_endpoint = None;
        let is_remote = plan.is_remote(attempt.endpoint().endpoint().role);
        self.prefill_elsewhere(is_remote);
        let tried = match (is_remote, plan.settings.connector) {
            (false, _) => self.all_at_once(&plan, PrefillOutcome::Local, attempt, clocks, record).await,
            (true, KvConnector::Nixl | KvConnector::TensorRtLlm) => {
                self.one_after_the_other(&mut plan, attempt, clocks, record).await
            }
            (true, KvConnector::Sglang | KvConnector::Mooncake) => self.side_by_side(&plan, attempt, clocks, record).await,
            (true, KvConnector::LlmdSidecar) => self.by_sidecar(&mut plan, attempt, clocks, record).await,
        };
        self.target.plan = Some(plan);
        tried
    }

    /// Counts the prompt as awaiting prefill at the endpoint that decodes, or not.
    fn prefill_elsewhere(&mut self, is_so: bool) {
        if let Some(picked) = self.target.selection.as_picked_mut() {
            picked.prefill_elsewhere(is_so);
        }
    }

    /// The whole request at the endpoint that decodes.
    pub(super) async fn all_at_once(
        &mut self,
        plan: &Plan,
        outcome: PrefillOutcome,
        attempt: &Attempt,
        clocks: Clocks,
        record: &RequestLog,
    ) -> Tried {
        self.count(plan, outcome);
        self.prefill_elsewhere(false);
        self.attempt_whole(attempt, clocks, record).await
    }

    /// The whole request, which the endpoint may have a sidecar to prefill elsewhere.
    async fn attempt_whole(&mut self, attempt: &Attempt, clocks: Clocks, record: &RequestLog) -> Tried {
        if let Err(tried) = self.set_body(bodies::local) {
            return tried;
        }
        self.attempt(attempt, clocks, record).await
    }

    /// NIXL's protocol and TensorRT-LLM's: the reply to the prefill says where the KV cache is.
    async fn one_after_the_other(&mut self, plan: &mut Plan, attempt: &Attempt, clocks: Clocks, record: &mut RequestLog) -> Tried {
        let prefilled = match plan.prefilled.take() {
            // Nothing is to be fetched where it was computed.
            Some(prefilled) if prefilled.address == socket(attempt) => {
                return self.all_at_once(plan, PrefillOutcome::Local, attempt, clocks, record).await;
            }
            Some(prefilled) => {
                record.prefill_endpoint = Some(Arc::clone(&prefilled.name));
                prefilled
            }
            None => match self.prefill(plan, attempt, clocks, record).await {
                Ok(prefilled) => prefilled,
                Err(Unprefilled::Locally) => {
                    record.prefill_endpoint = None;
                    return self.all_at_once(plan, PrefillOutcome::Fallback, attempt, clocks, record).await;
                }
                Err(Unprefilled::Ended(tried)) => return tried,
            },
        };
        if let Err(tried) = self.set_body(|call, target| prefilled.handover.decode_body(plan.api, call, target)) {
            return tried;
        }
        let cached = prefilled.cached;
        match self.attempt(attempt, clocks, record).await {
            Tried::Answered(response) => {
                let response = response.map_body(|body| PrefilledBody::after(body, cached));
                Tried::Answered(counting_cached(response, plan.api, cached))
            }
            Tried::Failed(failed) => {
                // The KV cache can be fetched once: by an endpoint that has not seen the request yet.
                plan.prefilled = (!failed.sent).then_some(prefilled);
                Tried::Failed(failed)
            }
        }
    }

    /// Has an endpoint prefill, or another one if that fails.
    async fn prefill(
        &mut self,
        plan: &Plan,
        attempt: &Attempt,
        clocks: Clocks,
        record: &mut RequestLog,
    ) -> Result<Prefilled, Unprefilled> {
        let mut next = self.pick_prefill(plan, attempt).ok().flatten();
        let connector = plan.settings.connector;
        let body = self.make_body(|call, target| match connector {
            KvConnector::TensorRtLlm => bodies::tensorrt_llm_prefill(call, target),
            _ => bodies::vllm_prefill(call, target, plan.api, bodies::NIXL_PARAMS),
        });
        let body = body.map_err(Unprefilled::Ended)?;
        let deadline = self.prefill_deadline(plan, clocks);
        for _ in 0..MAX_PREFILLS {
            let Some((there, picked)) = next.take().and_then(|picked| first_there(plan, picked)) else { break };
            let Endpoint { name, address, .. } = picked.endpoint().endpoint();
            let (name, address) = (Arc::clone(name), address.socket());
            let leg = self.leg((there, picked), body.clone(), deadline, record);
            let failure = match (Leg { keeps_reply: true, ..leg }).run().await {
                Ok(reply) => {
                    let Some(handover) = Handover::of_reply(connector, &reply.body) else {
                        tracing::debug!(endpoint = %name, "a reply to a prefill hands nothing over");
                        break;
                    };
                    self.count(plan, PrefillOutcome::Remote);
                    let cached = reply.usage.and_then(|usage| usage.cached_tokens);
                    return Ok(Prefilled { handover, cached, name, address });
                }
                Err(failure) => failure,
            };
            match failure.why {
                Why::Refused(response) => {
                    self.count(plan, PrefillOutcome::Failed);
                    return Err(Unprefilled::Ended(Tried::Answered(response)));
                }
                Why::Late if is_over(clocks) => {
                    self.count(plan, PrefillOutcome::Failed);
                    record.prefill_endpoint = None;
                    return Err(Unprefilled::Ended(late_prefill(clocks)));
                }
                Why::Late => break,
                Why::Failed(LegFailure { detail, outcome, .. }) => {
                    tracing::debug!(endpoint = %name, why = detail, "a prefill failed");
                    let is_fault = outcome != AttemptOutcome::Unknown;
                    next = failure.picked.and_then(|picked| plan.next(picked, is_fault));
                }
            }
        }
        Err(Unprefilled::Locally)
    }

    /// llm-d's sidecar: a header says where it is to have the prompt prefilled.
    async fn by_sidecar(&mut self, plan: &mut Plan, attempt: &Attempt, clocks: Clocks, record: &mut RequestLog) -> Tried {
        let picked = self.pick_prefill(plan, attempt).ok().flatten();
        let address = picked.as_ref().and_then(|picked| picked.endpoint().endpoint().address.socket());
        let Some((picked, address)) = picked.zip(address) else {
            return self.all_at_once(plan, PrefillOutcome::Fallback, attempt, clocks, record).await;
        };
        if let Ok(address) = HeaderValue::from_str(&address.to_string()) {
            self.outgoing.headers.insert(headers::PREFILLER, address);
        }
        record.prefill_endpoint = Some(Arc::clone(&picked.endpoint().endpoint().name));
        plan.sidecars = Some(Box::new(picked));
        let tried = self.attempt_whole(attempt, clocks, record).await;
        if let Tried::Answered(_) = tried {
            self.count(plan, PrefillOutcome::Remote);
        }
        tried
    }

    pub(super) fn pick_prefill(&self, plan: &Plan, attempt: &Attempt) -> Result<Option<Picked>, PickError> {
        let (call, decode) = self.body.call().zip(socket(attempt)).ok_or(PickError::NoEndpoints)?;
        plan.pick(call, self.target.target_model.as_deref(), decode)
    }

    /// Time at which a prefill that begins now is given up: its own, the request's, or the attempt's.
    pub(super) fn prefill_deadline(&self, plan: &Plan, clocks: Clocks) -> Instant {
        let now = Instant::now();
        let attempt = self.route.entry.rule.policy.timeouts.attempt.map(|limit| now + limit);
        [attempt, clocks.deadline].into_iter().flatten().fold(now + plan.settings.prefill_timeout, Instant::min)
    }

    /// A prefill at this endpoint.
    pub(super) fn leg(&self, place: (Attempt, Picked), body: Pieces, deadline: Instant, record: &mut RequestLog) -> Leg {
        let (attempt, picked) = place;
        let mut outgoing = self.outgoing.clone();
        let span = self.begin_prefill_span(&attempt, &mut outgoing, record);
        record.prefill_endpoint = Some(Arc::clone(&picked.endpoint().endpoint().name));
        Leg {
            settings: Arc::clone(&self.target.settings),
            attempt,
            picked,
            outgoing,
            span,
            status: None,
            body,
            worker: Arc::clone(&self.connection.worker),
            rule: Arc::clone(&self.route.entry.rule),
            breaker: Arc::clone(self.route.runtime.breaker(self.route.backend.breaker)),
            ends: self.connection.ends(),
            deadline,
            version: self.head.parts.version,
            keeps_reply: false,
        }
    }

    pub(super) fn make_body(&self, make: impl FnOnce(&ReadBody, &Target) -> Result<Pieces, ScanError>) -> Result<Pieces, Tried> {
        let unreadable = || Tried::Failed(unsendable(Error::new(Flag::BadRequest, "the request's body cannot be read")));
        let call = self.body.call().ok_or_else(unreadable)?;
        make(call, &self.target).map_err(|_| unreadable())
    }

    fn set_body(&mut self, make: impl FnOnce(&ReadBody, &Target) -> Result<Pieces, ScanError>) -> Result<(), Tried> {
        let body = self.make_body(make)?;
        self.body.retarget(Some(body));
        Ok(())
    }

    pub(super) fn count(&self, plan: &Plan, outcome: PrefillOutcome) {
        self.connection.worker.context.metrics.prefills.count(&plan.cluster.key().endpoints, outcome);
    }
}

impl BackendResponse {
    pub(super) fn map_body(mut self: Box<Self>, map: impl FnOnce(crate::upstream::UpstreamBody) -> PrefilledBody) -> Box<Self> {
        self.body = match self.body {
            BackendBody::Direct(body) => BackendBody::Prefilled(Box::new(map(body))),
            other => other,
        };
        self
    }
}

/// The response with the number of cached tokens that the engine told that prefilled: to vLLM's that decodes, all was cached. Anthropic's form has
/// no such number, but two that add up.
pub(super) fn counting_cached(mut response: Box<BackendResponse>, api: Api, cached: Option<u64>) -> Box<BackendResponse> {
    let is_readable = api != Api::Messages && response.head.status == StatusCode::OK && is_plain(&response.head.headers);
    if let Some(cached) = cached.filter(|_| is_readable) {
        response.edit.get_or_insert_default().cached_tokens = Some(CachedTokens::new(cached));
    }
    response
}

/// Address of the endpoint that decodes.
fn socket(attempt: &Attempt) -> Option<SocketAddr> {
    attempt.endpoint().endpoint().address.socket()
}

/// The first endpoint for a prefill, of those that were picked, that has not just gone.
pub(super) fn first_there(plan: &Plan, mut picked: Picked) -> Option<(Attempt, Picked)> {
    loop {
        if let Some(attempt) = plan.cluster.attempt_picked(picked.endpoint()) {
            return Some((attempt, picked));
        }
        picked = plan.next(picked, false)?;
    }
}

/// Whether the request's own time is up.
pub(super) fn is_over(clocks: Clocks) -> bool {
    clocks.deadline.is_some_and(|deadline| deadline <= Instant::now())
}

/// The prefill did not end in time, for which the endpoint that decodes is not to blame.
pub(super) fn late_prefill(clocks: Clocks) -> Tried {
    not_to_blame(late(Flag::Timeout, !is_over(clocks)))
}

/// The same attempt with nothing counted against its endpoint, if that did not answer.
pub(super) fn not_to_blame(tried: Tried) -> Tried {
    match tried {
        Tried::Failed(failed) => Tried::Failed(Failed { outcome: AttemptOutcome::Unknown, ..failed }),
        answered => answered,
    }
}
