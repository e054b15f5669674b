//! SGLang's protocol: the endpoint that prefills and the one that decodes get the same request at once.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Poll, ready},
};

use http_body::Body as _;

use super::{
    bodies,
    leg::{Leg, LegFailure, PrefillFailure, PrefillReply, Why},
    plan::Plan,
    remote::{MAX_PREFILLS, first_there, late_prefill, not_to_blame},
};
use crate::{
    backend_body::BackendBody,
    cluster::{Attempt, AttemptOutcome},
    error::{Error, Flag},
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

impl Attempts<'_> {
    /// Both parts at once, with another prefill if one fails.
    pub(super) async fn side_by_side(&mut self, plan: &Plan, attempt: &Attempt, clocks: Clocks, record: &mut RequestLog) -> Tried {
        let mut next = match self.pick_prefill(plan, attempt) {
            Ok(picked) => picked,
            Err(error) => {
                self.count(plan, PrefillOutcome::Failed);
                let error = Error::not_picked(error, &plan.cluster.key().endpoints);
                return Tried::Failed(unsendable(error.with_detail("no endpoint that prefills is ready")));
            }
        };
        let mut last = None;
        let deadline = self.prefill_deadline(plan, clocks);
        for _ in 0..MAX_PREFILLS {
            let Some((there, picked)) = next.take().and_then(|picked| first_there(plan, picked)) else { break };
            let Some(address) = picked.endpoint().endpoint().address.socket() else { break };
            let bootstrap = (address.ip(), plan.settings.bootstrap_port);
            let body = match self.make_body(|call, target| bodies::sglang(call, target, bootstrap)) {
                Ok(body) => body,
                Err(tried) => return tried,
            };
            self.body.retarget(Some(body.clone()));
            let leg = self.leg((there, picked), body, deadline, record);
            let failure = match self.both(leg, attempt, clocks, record).await {
                Ok(tried) => {
                    if tried.status().is_some_and(|status| status.is_success()) {
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
                    record.prefill_endpoint = None;
                    return late_prefill(clocks);
                }
                Why::Failed(failed) => {
                    tracing::debug!(endpoint = ?record.prefill_endpoint, why = failed.detail, "a prefill failed");
                    let is_fault = failed.outcome != AttemptOutcome::Unknown;
                    next = failure.picked.and_then(|picked| plan.next(picked, is_fault));
                    last = Some(failed);
                }
            }
        }
        self.count(plan, PrefillOutcome::Failed);
        match last {
            Some(LegFailure { response: Some(response), .. }) => Tried::Answered(response),
            last => {
                record.prefill_endpoint = None;
                unprefilled(last.map_or_else(|| "there is no endpoint that prefills".to_owned(), |last| last.detail))
            }
        }
    }

    /// Sends both parts. The decode is given up as soon as the prefill fails, which another prefill can make good until the decode's first data.
    async fn both(&mut self, leg: Leg, attempt: &Attempt, clocks: Clocks, record: &RequestLog) -> Result<Tried, PrefillFailure> {
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
        if let (None, BackendBody::Direct(body)) = (ended, &mut response.body) {
            match begin(&mut prefill, body).await? {
                Begun::Prefilled(cached) => ended = Some(cached),
                Begun::Answering => {}
                Begun::Failed(failed) => return Ok(Tried::Failed(failed)),
            }
        }
        Ok(Tried::Answered(response.map_body(|body| match ended {
            Some(cached) => PrefilledBody::after(body, cached),
            None => PrefilledBody::beside(body, rest(prefill)),
        })))
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
