//! Calls to the rate limit service: questions about requests, and the costs of responses that have ended.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Limited};
use pailou_ai::Pieces;
use pailou_envoy_proto::rate_limit::{self, AnswerError, RateLimitDescriptor, RateLimitRequest, RateLimitResponse};
use pailou_limits::Reservation;
use pailou_snapshot::{Protocol, Timeouts};
use tokio::{runtime::Handle, sync::oneshot, time::timeout};

use crate::{
    limit_service::{CallKind, LimitServiceState},
    local_addresses::LocalAddresses,
    request_body::RequestBody,
    response_cost::ResponseCost,
    upstream::{Destination, SendFailure, Upstreams},
};

/// Time that a call has which nobody waits for, the connection included.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Reason why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("it has not answered of late, or too many calls are under way")]
    NotAsked,
    #[error("it did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    #[error("TLS cannot be had: {0}")]
    Tls(String),
    #[error("{0}")]
    Send(#[from] Box<SendFailure>),
    #[error("its answer broke off, or is longer than {MAX_ANSWER} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    Answer(#[from] AnswerError),
}

/// Asks a question, over the connections of a worker. The call goes on beyond the time that a request waits: a connection that is slow to make
/// is there for the next one, and the service counts what was sent.
///
/// # Errors
/// There is no answer in time.
pub(crate) async fn ask(
    service: &Arc<LimitServiceState>,
    upstreams: &Upstreams,
    question: &RateLimitRequest,
) -> Result<RateLimitResponse, Unanswered> {
    let (permit, kind) = service.begin_call().ok_or(Unanswered::NotAsked)?;
    let (sender, receiver) = oneshot::channel();
    let (patience, call) = (service.settings().timeout, rate_limit::call(question));
    let (service, upstreams) = (Arc::clone(service), upstreams.clone());
    tokio::spawn(async move {
        let outcome = run(&service, &upstreams, call, kind).await;
        drop(permit);
        // The request may not wait any more.
        let _ = sender.send(outcome);
    });
    match timeout(patience, receiver).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Unanswered::NotAsked),
        Err(_) => Err(Unanswered::Late(patience)),
    }
}

async fn run(
    service: &LimitServiceState,
    upstreams: &Upstreams,
    call: Request<Bytes>,
    kind: CallKind,
) -> Result<RateLimitResponse, Unanswered> {
    let patience = service.settings().timeout;
    let mut call = pin!(exchange(service, upstreams, call));
    if let Ok(outcome) = timeout(patience, &mut call).await {
        match &outcome {
            Ok(_) => service.end_call(kind, None),
            Err(Unanswered::Answer(error)) if !error.is_outage() => service.end_refused_call(kind),
            Err(error) => service.end_call(kind, Some(error)),
        }
        return outcome;
    }
    // Whoever asks next need not wait to find out.
    service.end_call(kind, Some(&Unanswered::Late(patience)));
    timeout(CALL_TIMEOUT, call).await.unwrap_or(Err(Unanswered::Late(CALL_TIMEOUT)))
}

async fn exchange(
    service: &LimitServiceState,
    upstreams: &Upstreams,
    mut call: Request<Bytes>,
) -> Result<RateLimitResponse, Unanswered> {
    let tls = service.tls().map_err(|error| Unanswered::Tls(error.to_string()))?;
    if let Ok(host) = HeaderValue::try_from(service.settings().address.to_string()) {
        call.headers_mut().insert(header::HOST, host);
    }
    let timeouts = Timeouts { connect: CALL_TIMEOUT, ..Timeouts::default() };
    let destination = Destination {
        tls,
        protocol: Protocol::Http2,
        local_addresses: LocalAddresses::Allowed,
        is_watched: true,
        ..Destination::new(service.address(), &timeouts)
    };
    let exchange = upstreams.send_request(&destination, call.map(|body| RequestBody::held(Pieces::from(body)))).await?;
    let (head, body) = exchange.response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(Unanswered::Body)?;
    let trailers = body.trailers().cloned();
    Ok(rate_limit::answer(&head, &body.to_bytes(), trailers.as_ref())?)
}

/// Costs of one response that the service is to be told.
pub(crate) struct ServiceCharges {
    pub(crate) service: Arc<LimitServiceState>,
    pub(crate) upstreams: Upstreams,
    pub(crate) domain: String,
    pub(crate) charges: Vec<ServiceCharge>,
}

/// A counter of the service, and what the response costs.
pub(crate) struct ServiceCharge {
    /// The counter, with the limit that the request was charged under.
    pub(crate) descriptor: RateLimitDescriptor,
    /// The cost.
    pub(crate) cost: ResponseCost,
    /// The cost that is expected.
    pub(crate) expected: u64,
    /// Room held in this process, where the service has said how much there is.
    pub(crate) reservation: Option<Reservation>,
}

/// Cost of a response that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedCost {
    pub(crate) cost: u64,
    /// Size of the response, where it tells of those to come.
    pub(crate) size: Option<u64>,
}

impl ServiceCharges {
    /// Tells the service what a response cost that has ended; `None` if it cost nothing. Nobody waits for the call. Room that is held goes
    /// back once the service knows.
    pub(crate) fn settle(self, mut cost_of: impl FnMut(&ServiceCharge) -> Option<EndedCost>) {
        let (mut descriptors, mut held) = (Vec::new(), Vec::new());
        for charge in self.charges {
            let Some(ended) = cost_of(&charge) else { continue };
            if ended.cost > 0 {
                descriptors.push(RateLimitDescriptor { hits_addend: Some(ended.cost), ..charge.descriptor });
            }
            held.extend(charge.reservation.map(|reservation| (reservation, ended)));
        }
        let settle = move || {
            held.into_iter()
                .for_each(|(held, EndedCost { cost, size })| held.settle_elsewhere(size.unwrap_or(cost), size.is_some()))
        };
        if descriptors.is_empty() {
            return settle();
        }
        let (count, service, upstreams) = (descriptors.len() as u64, self.service, self.upstreams);
        let call = rate_limit::call(&RateLimitRequest { domain: self.domain, descriptors, hits_addend: 0 });
        let lost = move |service: &LimitServiceState| service.stats().lost_charges.fetch_add(count, Ordering::Relaxed);
        let (Some((permit, kind)), Ok(runtime)) = (service.begin_call(), Handle::try_current()) else {
            lost(&service);
            return settle();
        };
        runtime.spawn(async move {
            if run(&service, &upstreams, call, kind).await.is_err() {
                lost(&service);
            }
            drop(permit);
            settle();
        });
    }
}
