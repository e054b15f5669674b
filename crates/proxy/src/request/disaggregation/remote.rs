//! An attempt with a prefill at another endpoint.

use std::{future::poll_fn, net::SocketAddr, pin::pin, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pailou_ai::{CachedTokens, Pieces, ScanError, member};
use pailou_picker::{PickError, Picked};
use pailou_snapshot::KvConnector;
use tokio::time::Instant;

use super::{
    bodies,
    leg::{Leg, PrefillFailure, Why},
    plan::Plan,
};
use crate::{
    backend_body::BackendBody,
    cluster::{Attempt, AttemptOutcome},
    content_coding::is_plain,
    error::{Error, Flag},
    headers,
    metrics::PrefillOutcome,
    prefilled_body::{PendingPrefill, PrefilledBody},
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
const MAX_PREFILLS: usize = 3;

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
        let role = attempt.endpoint().endpoint().role;
        let tried = match (plan.is_remote(role), plan.settings.connector) {
            (false, _) => self.all_at_once(&plan, PrefillOutcome::Local, attempt, clocks, record).await,
            (true, KvConnector::Nixl) => self.one_after_the_other(&mut plan, attempt, clocks, record).await,
            (true, KvConnector::Sglang) => self.side_by_side(&plan, attempt, clocks, record).await,
            (true, KvConnector::LlmdSidecar) => self.by_sidecar(&mut plan, attempt, clocks, record).await,
        };
        self.target.plan = Some(plan);
        tried
    }

    /// The whole request at the endpoint that decodes.
    async fn all_at_once(
        &mut self,
        plan: &Plan,
        outcome: PrefillOutcome,
        attempt: &Attempt,
        clocks: Clocks,
        record: &RequestLog,
    ) -> Tried {
        self.count(plan, outcome);
        if let Err(tried) = self.set_body(bodies::local) {
            return tried;
        }
        self.attempt(attempt, clocks, record).await
    }

    /// vLLM's protocol: the reply to the prefill says where the KV cache is.
    async fn one_after_the_other(&mut self, plan: &mut Plan, attempt: &Attempt, clocks: Clocks, record: &mut RequestLog) -> Tried {
        let (params, cached) = match plan.params.take() {
            Some(params) => (params, None),
            None => match self.prefill(plan, attempt, clocks, record).await {
                Ok(prefilled) => prefilled,
                Err(Unprefilled::Locally) => {
                    record.prefill_endpoint = None;
                    return self.all_at_once(plan, PrefillOutcome::Fallback, attempt, clocks, record).await;
                }
                Err(Unprefilled::Ended(tried)) => return tried,
            },
        };
        if let Err(tried) = self.set_body(|call, target| bodies::nixl_decode(call, target, params.clone())) {
            return tried;
        }
        match self.attempt(attempt, clocks, record).await {
            Tried::Answered(response) => {
                let mut response = response.map_body(|body| PrefilledBody::after(body, cached));
                // To vLLM's engine that decodes, all was cached.
                let cached = cached.filter(|_| response.head.status == StatusCode::OK && is_plain(&response.head.headers));
                if let Some(cached) = cached {
                    response.edit.get_or_insert_default().cached_tokens = Some(CachedTokens::new(cached));
                }
                Tried::Answered(response)
            }
            Tried::Failed(failed) => {
                // The KV cache can be fetched once: by an endpoint that has not seen the request yet.
                plan.params = (!failed.sent).then_some(params);
                Tried::Failed(failed)
            }
        }
    }

    /// Has an endpoint prefill, or another one if that fails. Gives `kv_transfer_params`, and the prompt's tokens that were cached.
    async fn prefill(
        &mut self,
        plan: &Plan,
        attempt: &Attempt,
        clocks: Clocks,
        record: &mut RequestLog,
    ) -> Result<(Bytes, Option<u64>), Unprefilled> {
        let mut next = self.pick_prefill(plan, attempt).ok().flatten();
        let body = self.make_body(bodies::nixl_prefill).map_err(Unprefilled::Ended)?;
        for _ in 0..MAX_PREFILLS {
            let Some(leg) = next.take().and_then(|picked| self.leg(plan, picked, body.clone(), clocks, record)) else { break };
            let failure = match leg.run().await {
                Ok(reply) => {
                    let params = member(&reply.body, "kv_transfer_params").map(|span| reply.body.slice(span));
                    let Some(params) = params.filter(|params| params.starts_with(b"{")) else {
                        tracing::debug!(endpoint = ?record.prefill_endpoint, "a reply to a prefill has no kv_transfer_params");
                        break;
                    };
                    self.count(plan, PrefillOutcome::Remote);
                    return Ok((params, reply.usage.and_then(|usage| usage.cached_tokens)));
                }
                Err(failure) => failure,
            };
            match failure.why {
                Why::Refused(response) => {
                    self.count(plan, PrefillOutcome::Failed);
                    return Err(Unprefilled::Ended(Tried::Answered(response)));
                }
                Why::Late if is_over(clocks) => return Err(Unprefilled::Ended(late(Flag::Timeout, false))),
                Why::Late => break,
                Why::Failed(why) => {
                    tracing::debug!(endpoint = ?record.prefill_endpoint, %why, "a prefill failed");
                    next = failure.picked.and_then(|picked| plan.next(picked));
                }
            }
        }
        Err(Unprefilled::Locally)
    }

    /// SGLang's protocol: both get the same request, and meet in a room.
    async fn side_by_side(&mut self, plan: &Plan, attempt: &Attempt, clocks: Clocks, record: &mut RequestLog) -> Tried {
        let mut next = match self.pick_prefill(plan, attempt) {
            Ok(picked) => picked,
            Err(error) => {
                self.count(plan, PrefillOutcome::Failed);
                let error = Error::not_picked(error, &plan.cluster.key().endpoints);
                return Tried::Failed(unsendable(error.with_detail("no endpoint that prefills is ready")));
            }
        };
        let mut last = "there is none".to_owned();
        for _ in 0..MAX_PREFILLS {
            let Some(picked) = next.take() else { break };
            let Some(address) = picked.endpoint().endpoint().address.socket() else { break };
            let bootstrap = (address.ip(), plan.settings.bootstrap_port);
            let body = match self.make_body(|call, target| bodies::sglang(call, target, bootstrap, plan.prompts)) {
                Ok(body) => body,
                Err(tried) => return tried,
            };
            self.body.retarget(Some(body.clone()));
            let Some(leg) = self.leg(plan, picked, body, clocks, record) else { break };
            let failure = match self.both(leg, attempt, clocks, record).await {
                Ok(tried) => {
                    if let Tried::Answered(_) = tried {
                        self.count(plan, PrefillOutcome::Remote);
                    }
                    return tried;
                }
                Err(failure) => failure,
            };
            match failure.why {
                Why::Refused(response) => {
                    self.count(plan, PrefillOutcome::Failed);
                    return Tried::Answered(response);
                }
                Why::Late => {
                    self.count(plan, PrefillOutcome::Failed);
                    return late(Flag::Timeout, false);
                }
                Why::Failed(why) => {
                    tracing::debug!(endpoint = ?record.prefill_endpoint, %why, "a prefill failed");
                    last = why;
                    next = failure.picked.and_then(|picked| plan.next(picked));
                }
            }
        }
        self.count(plan, PrefillOutcome::Failed);
        unprefilled(last)
    }

    /// Sends both parts at once. The decode is given up as soon as the prefill fails.
    async fn both(&mut self, leg: Leg, attempt: &Attempt, clocks: Clocks, record: &RequestLog) -> Result<Tried, PrefillFailure> {
        let mut prefill = Box::pin(leg.run());
        let mut ended = None;
        let tried = {
            let mut decode = pin!(self.attempt(attempt, clocks, record));
            poll_fn(|context| {
                if ended.is_none()
                    && let Poll::Ready(end) = prefill.as_mut().poll(context)
                {
                    ended = Some(end?.usage.and_then(|usage| usage.cached_tokens));
                }
                decode.as_mut().poll(context).map(Ok)
            })
            .await?
        };
        let Tried::Answered(response) = tried else { return Ok(tried) };
        if !response.head.status.is_success() {
            return Ok(Tried::Answered(response));
        }
        Ok(Tried::Answered(response.map_body(|body| match ended {
            Some(cached) => PrefilledBody::after(body, cached),
            None => PrefilledBody::beside(body, rest(prefill)),
        })))
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
        self.all_at_once(plan, PrefillOutcome::Remote, attempt, clocks, record).await
    }

    fn pick_prefill(&self, plan: &Plan, attempt: &Attempt) -> Result<Option<Picked>, PickError> {
        let decode: Option<SocketAddr> = attempt.endpoint().endpoint().address.socket();
        let (call, decode) = self.body.call().zip(decode).ok_or(PickError::NoEndpoints)?;
        plan.pick(call, self.target.target_model.as_deref(), decode)
    }

    /// A prefill at the endpoint that was picked; `None` where it has just gone.
    fn leg(&self, plan: &Plan, picked: Picked, body: Pieces, clocks: Clocks, record: &mut RequestLog) -> Option<Leg> {
        let attempt = plan.cluster.attempt_picked(picked.endpoint())?;
        record.prefill_endpoint = Some(Arc::clone(&picked.endpoint().endpoint().name));
        let own = Instant::now() + plan.settings.prefill_timeout;
        Some(Leg {
            settings: Arc::clone(&self.target.settings),
            attempt,
            picked,
            outgoing: self.outgoing.clone(),
            body,
            worker: Arc::clone(&self.connection.worker),
            rule: Arc::clone(&self.route.entry.rule),
            breaker: Arc::clone(self.route.runtime.breaker(self.route.backend.breaker)),
            ends: self.connection.ends(),
            deadline: clocks.deadline.map_or(own, |deadline| deadline.min(own)),
        })
    }

    fn make_body(&self, make: impl FnOnce(&ReadBody, &Target) -> Result<Pieces, ScanError>) -> Result<Pieces, Tried> {
        let unreadable = || Tried::Failed(unsendable(Error::new(Flag::BadRequest, "the request's body cannot be read")));
        let call = self.body.call().ok_or_else(unreadable)?;
        make(call, &self.target).map_err(|_| unreadable())
    }

    fn set_body(&mut self, make: impl FnOnce(&ReadBody, &Target) -> Result<Pieces, ScanError>) -> Result<(), Tried> {
        let body = self.make_body(make)?;
        self.body.retarget(Some(body));
        Ok(())
    }

    fn count(&self, plan: &Plan, outcome: PrefillOutcome) {
        self.connection.worker.context.metrics.prefills.count(&plan.cluster.key().endpoints, outcome);
    }
}

impl BackendResponse {
    fn map_body(mut self: Box<Self>, map: impl FnOnce(crate::upstream::UpstreamBody) -> PrefilledBody) -> Box<Self> {
        self.body = match self.body {
            BackendBody::Direct(body) => BackendBody::Prefilled(Box::new(map(body))),
            other => other,
        };
        self
    }
}

/// The rest of a prefill, in the words of the body beside it.
fn rest(
    prefill: std::pin::Pin<Box<impl Future<Output = Result<super::leg::PrefillReply, PrefillFailure>> + Send + 'static>>,
) -> PendingPrefill {
    Box::pin(async move {
        match prefill.await {
            Ok(reply) => Ok(reply.usage.and_then(|usage| usage.cached_tokens)),
            Err(PrefillFailure { why: Why::Failed(why), .. }) => Err(why),
            Err(PrefillFailure { why: Why::Refused(response), .. }) => Err(format!("it answered {}", response.head.status)),
            Err(PrefillFailure { why: Why::Late, .. }) => Err("it did not end in time".to_owned()),
        }
    })
}

/// Whether the request's own time is up.
fn is_over(clocks: Clocks) -> bool {
    clocks.deadline.is_some_and(|deadline| deadline <= Instant::now())
}

fn unprefilled(why: String) -> Tried {
    let error = Error::new(Flag::UpstreamReset, "no model server computed the prompt").with_detail(why);
    let error = Error { retryable: true, ..error };
    Tried::Failed(Failed { error, outcome: AttemptOutcome::Unknown, sent: true, refused: false, before_content: false })
}
