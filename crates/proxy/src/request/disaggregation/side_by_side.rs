//! SGLang's protocol and Mooncake's: the endpoint that prefills and the one that decodes get the request at once.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use http::HeaderValue;
use http_body::Body as _;
use pailou_ai::Pieces;
use pailou_picker::{PickError, Picked};
use pailou_snapshot::KvConnector;
use tokio::time::{Instant, timeout};

use super::{
    bodies::{self, MooncakeTransfer},
    leg::{Leg, LegFailure, PrefillFailure, PrefillReply, Why},
    mooncake,
    plan::Plan,
    remote::{MAX_PREFILLS, counting_cached, first_there, is_over, late_prefill, not_to_blame},
};
use crate::{
    backend_body::BackendBody,
    cluster::{Attempt, AttemptOutcome},
    error::{Error, Flag},
    headers,
    metrics::PrefillOutcome,
    prefilled_body::{PendingPrefill, PrefilledBody},
    relay::Clocks,
    request::{
        attempt::{Attempts, unsendable},
        tried::{Failed, Tried, broke_off},
    },
    request_log::RequestLog,
    upstream::UpstreamBody,
};

/// Longest time that a response's first data waits for the reply of the prefill, which has computed the prompt.
const MAX_REPLY_WAIT: Duration = Duration::from_millis(100);

/// A prefill under way.
type Prefilling = Pin<Box<dyn Future<Output = Result<PrefillReply, PrefillFailure>> + Send>>;

/// State of a decode that has a head.
enum Begun {
    /// The prefill ended first, with so many tokens of the prompt cached.
    Prefilled(Option<u64>),
    /// Data came first, or the end.
    Answering,
    /// It broke off.
    Failed(Failed),
}

/// Reason for which no prefill beside the decode came about.
enum Unprefilled {
    /// No endpoint could be picked.
    NotPicked(PickError),
    Late,
    /// The last one failed, if there was any.
    Failed(Option<LegFailure>),
}

/// Bodies of both parts.
struct Parts {
    prefill: Pieces,
    decode: Pieces,
    /// The data-parallel rank that is to prefill.
    rank: Option<HeaderValue>,
}

impl Attempts<'_> {
    /// Both parts at once, with another prefill if one fails. At last the endpoint that decodes prefills, if it can.
    pub(super) async fn side_by_side(&mut self, plan: &Plan, attempt: &Attempt, clocks: Clocks, record: &mut RequestLog) -> Tried {
        let why = match self.prefill_beside(plan, attempt, clocks, record).await {
            Ok(tried) => return tried,
            Err(why) => why,
        };
        let cannot = plan.must_be_remote(attempt.endpoint().endpoint().role);
        if !cannot && !is_over(clocks) {
            record.prefill_endpoint = None;
            return self.all_at_once(plan, PrefillOutcome::Fallback, attempt, clocks, record).await;
        }
        self.count(plan, PrefillOutcome::Failed);
        match why {
            Unprefilled::NotPicked(error) => {
                let error = Error::not_picked(error, &plan.cluster.key().endpoints);
                Tried::Failed(unsendable(error.with_detail("no endpoint that prefills is ready")))
            }
            Unprefilled::Late => {
                record.prefill_endpoint = None;
                late_prefill(clocks)
            }
            Unprefilled::Failed(Some(LegFailure { response: Some(response), .. })) => Tried::Answered(response),
            Unprefilled::Failed(last) => {
                record.prefill_endpoint = None;
                unprefilled(last.map_or_else(|| "there is no endpoint that prefills".to_owned(), |last| last.detail))
            }
        }
    }

    async fn prefill_beside(
        &mut self,
        plan: &Plan,
        attempt: &Attempt,
        clocks: Clocks,
        record: &mut RequestLog,
    ) -> Result<Tried, Unprefilled> {
        let mut next = self.pick_prefill(plan, attempt).map_err(Unprefilled::NotPicked)?;
        let mut last = None;
        let deadline = self.prefill_deadline(plan, clocks);
        for _ in 0..MAX_PREFILLS {
            let Some((there, picked)) = next.take().and_then(|picked| first_there(plan, picked)) else { break };
            let ended = match self.parts(plan, &picked, deadline).await {
                Ok(Ok(parts)) => {
                    self.body.retarget(Some(parts.decode));
                    let mut leg = self.leg((there, picked), parts.prefill, deadline, record);
                    if let Some(rank) = parts.rank {
                        leg.outgoing.headers.insert(headers::DATA_PARALLEL_RANK, rank);
                    }
                    self.both(plan, leg, attempt, clocks, record).await
                }
                Ok(Err(tried)) => return Ok(tried),
                Err(why) => {
                    record.prefill_endpoint = Some(Arc::clone(&picked.endpoint().endpoint().name));
                    there.report(why.outcome());
                    Err(PrefillFailure { why, picked: Some(picked) })
                }
            };
            let failure = match ended {
                Ok(tried) => {
                    if tried.status().is_some_and(|status| status.is_success()) {
                        self.count(plan, PrefillOutcome::Remote);
                    }
                    return Ok(tried);
                }
                Err(failure) => failure,
            };
            match failure.why {
                Why::Refused(response) => {
                    self.count(plan, PrefillOutcome::Failed);
                    return Ok(Tried::Answered(response));
                }
                Why::Late => return Err(Unprefilled::Late),
                Why::Failed(failed) => {
                    tracing::debug!(endpoint = ?record.prefill_endpoint, why = failed.detail, "a prefill failed");
                    let is_fault = failed.outcome != AttemptOutcome::Unknown;
                    next = failure.picked.and_then(|picked| plan.next(picked, is_fault));
                    last = Some(failed);
                }
            }
        }
        Err(Unprefilled::Failed(last))
    }

    /// Bodies for a prefill at this endpoint; the request's end where they cannot be made.
    async fn parts(&self, plan: &Plan, picked: &Picked, deadline: Instant) -> Result<Result<Parts, Tried>, Why> {
        let no_address =
            || Why::Failed(LegFailure { detail: "it has no address".into(), outcome: AttemptOutcome::Unknown, response: None });
        let address = picked.endpoint().endpoint().address.socket().ok_or_else(no_address)?;
        let bootstrap = SocketAddr::new(address.ip(), plan.settings.bootstrap_port);
        if plan.settings.connector == KvConnector::Sglang {
            let body = self.make_body(|call, target| bodies::sglang(call, target, (bootstrap.ip(), bootstrap.port())));
            return Ok(body.map(|body| Parts { prefill: body.clone(), decode: body, rank: None }));
        }
        let (upstreams, timeouts) = (&self.connection.worker.upstreams, &self.route.entry.rule.policy.timeouts);
        let engine = mooncake::ask(upstreams, &self.target.settings, timeouts, bootstrap, deadline).await?;
        let transfer = MooncakeTransfer::new();
        let [prefill, decode] = [transfer.prefill_params(), transfer.decode_params(&engine.id, bootstrap)];
        let prefill = self.make_body(|call, target| bodies::vllm_prefill(call, target, plan.api, prefill));
        let decode = self.make_body(|call, target| bodies::vllm_decode(call, target, plan.api, decode));
        Ok(prefill.and_then(|prefill| Ok(Parts { prefill, decode: decode?, rank: Some(engine.rank) })))
    }

    /// Sends both parts. The decode is given up as soon as the prefill fails, which another prefill can make good until the decode's first data.
    async fn both(
        &mut self,
        plan: &Plan,
        leg: Leg,
        attempt: &Attempt,
        clocks: Clocks,
        record: &RequestLog,
    ) -> Result<Tried, PrefillFailure> {
        let mut prefill: Prefilling = Box::pin(leg.run());
        let mut ended = None;
        let tried = {
            let mut decode = pin!(self.attempt(attempt, clocks, record));
            poll_fn(|context| {
                if ended.is_none()
                    && let Poll::Ready(end) = prefill.as_mut().poll(context)
                {
                    ended = Some(cached_tokens(&end?));
                }
                decode.as_mut().poll(context).map(Ok)
            })
            .await?
        };
        let mut response = match tried {
            Tried::Answered(response) => response,
            // An endpoint that waits for the prompt is not late.
            Tried::Failed(failed) if ended.is_none() && failed.error.flag == Flag::Timeout => {
                return Ok(not_to_blame(Tried::Failed(failed)));
            }
            failed => return Ok(failed),
        };
        if !response.head.status.is_success() {
            return Ok(Tried::Answered(response));
        }
        let mut is_answering = false;
        if let (None, BackendBody::Direct(body)) = (ended, &mut response.body) {
            match begin(&mut prefill, body).await? {
                Begun::Prefilled(cached) => ended = Some(cached),
                // The prompt has been computed: the reply with what was cached of it is on its way.
                Begun::Answering if plan.settings.connector == KvConnector::Mooncake => {
                    is_answering = true;
                    let reply = timeout(MAX_REPLY_WAIT, prefill.as_mut()).await;
                    ended = reply.ok().map(|reply| reply.ok().and_then(|reply| cached_tokens(&reply)));
                }
                Begun::Answering => {}
                Begun::Failed(failed) => return Ok(Tried::Failed(failed)),
            }
        }
        let response = response.map_body(|body| match ended {
            Some(cached) => PrefilledBody::after(body, cached),
            // Its data is there: the end of the prefill is of no more consequence.
            None if is_answering => PrefilledBody::beside(body, Box::pin(async { Ok(rest(prefill).await.unwrap_or_default()) })),
            None => PrefilledBody::beside(body, rest(prefill)),
        });
        let cached = ended.flatten().filter(|_| plan.settings.connector == KvConnector::Mooncake);
        Ok(Tried::Answered(counting_cached(response, plan.api, cached)))
    }
}

/// Waits for the decode's first data or the prefill's end: SGLang sends a head at once. The prefill has a deadline.
async fn begin(prefill: &mut Prefilling, body: &mut UpstreamBody) -> Result<Begun, PrefillFailure> {
    poll_fn(|context| {
        if let Poll::Ready(end) = prefill.as_mut().poll(context) {
            return Poll::Ready(end.map(|reply| Begun::Prefilled(cached_tokens(&reply))));
        }
        Poll::Ready(Ok(match ready!(Pin::new(&mut *body).poll_frame(context)) {
            Some(Ok(frame)) => {
                body.give_back([frame].into());
                Begun::Answering
            }
            Some(Err(error)) => Begun::Failed(broke_off(&error)),
            None => Begun::Answering,
        }))
    })
    .await
}

/// The rest of a prefill, in the words of the body beside it.
fn rest(prefill: Prefilling) -> PendingPrefill {
    Box::pin(async move {
        match prefill.await {
            Ok(reply) => Ok(cached_tokens(&reply)),
            Err(PrefillFailure { why: Why::Failed(failed), .. }) => Err(failed.detail),
            Err(PrefillFailure { why: Why::Refused(response), .. }) => Err(format!("it answered {}", response.head.status)),
            Err(PrefillFailure { why: Why::Late, .. }) => Err("it did not end in time".to_owned()),
        }
    })
}

fn cached_tokens(reply: &PrefillReply) -> Option<u64> {
    reply.usage.as_ref().and_then(|usage| usage.cached_tokens)
}

fn unprefilled(why: String) -> Tried {
    let error = Error::new(Flag::UpstreamReset, "no model server computed the prompt").with_detail(why);
    let error = Error { retryable: true, ..error };
    Tried::Failed(Failed { error, outcome: AttemptOutcome::Unknown, sent: true, refused: false, before_content: false })
}
