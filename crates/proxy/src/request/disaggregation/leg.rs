//! A request to an endpoint that prefills, from its head to the end of its reply.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Version, header};
use http_body_util::BodyExt;
use pailou_ai::{Pieces, ResponseReader, Usage};
use pailou_picker::Picked;
use pailou_snapshot::Rule;
use tokio::time::{Instant, timeout_at};

use crate::{
    backend_body::BackendBody,
    breaker::Breaker,
    cluster::{Attempt, AttemptOutcome, ClusterSettings},
    error::Flag,
    prefill_record::PrefillSpan,
    proxy_protocol::Ends,
    request::{answer::BackendResponse, outgoing::Outgoing, tried::failed},
    request_body::RequestBody,
    upstream::{Destination, Exchange, Limits, UpstreamBody, dial, in_version_of},
    worker::Worker,
};

/// Longest reply that is kept, in bytes: it names each block of the prompt, of which a million tokens have 65 536.
const MAX_REPLY: usize = 2 << 20;

/// All that a prefill needs, of its own: it may outlive the attempt.
pub(super) struct Leg {
    pub(super) settings: Arc<ClusterSettings>,
    pub(super) attempt: Attempt,
    /// The place at the endpoint that is reserved.
    pub(super) picked: Picked,
    pub(super) outgoing: Outgoing,
    /// Its span, where the request's are kept.
    pub(super) span: Option<PrefillSpan>,
    /// The response's status, once it is there.
    pub(super) status: Option<StatusCode>,
    pub(super) body: Pieces,
    pub(super) worker: Arc<Worker>,
    pub(super) rule: Arc<Rule>,
    pub(super) breaker: Arc<Breaker>,
    pub(super) ends: Ends,
    pub(super) deadline: Instant,
    /// The client's version of HTTP, for endpoints that follow it.
    pub(super) version: Version,
    /// The reply's text counts, and not only its end.
    pub(super) keeps_reply: bool,
}

/// The end of a prefill.
pub(crate) struct PrefillReply {
    /// The reply's body where it is kept.
    pub(crate) body: Bytes,
    /// Tokens as the endpoint counted them.
    pub(crate) usage: Option<Usage>,
}

/// A prefill that came to nothing.
pub(crate) struct PrefillFailure {
    pub(crate) why: Why,
    /// The place at the endpoint, which can move to the next.
    pub(crate) picked: Option<Picked>,
}

/// Reason of a failure.
pub(crate) enum Why {
    /// The endpoint refuses the request for what it is; the client gets its answer.
    Refused(Box<BackendResponse>),
    /// The endpoint failed: another may do.
    Failed(LegFailure),
    /// It took too long.
    Late,
}

/// A failure after which another endpoint may do.
pub(crate) struct LegFailure {
    pub(crate) detail: String,
    /// Outcome at the endpoint.
    pub(crate) outcome: AttemptOutcome,
    /// Its answer, where that is a client error.
    pub(crate) response: Option<Box<BackendResponse>>,
}

impl Why {
    /// The flag of a failure that the response's status does not tell.
    fn code(&self, status: Option<StatusCode>) -> Option<&'static str> {
        Some(match self {
            Self::Late => Flag::Timeout.code(),
            Self::Failed(failure) if failure.outcome == AttemptOutcome::ConnectFailure => Flag::ConnectFailure.code(),
            Self::Failed(_) if status.is_none_or(|status| status == StatusCode::OK) => Flag::UpstreamReset.code(),
            Self::Failed(_) | Self::Refused(_) => return None,
        })
    }

    fn failed(detail: impl ToString, outcome: AttemptOutcome) -> Self {
        Self::Failed(LegFailure { detail: detail.to_string(), outcome, response: None })
    }
}

impl Why {
    /// Outcome at the endpoint.
    pub(super) fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Refused(response) => AttemptOutcome::of(response.head.status),
            Self::Failed(failure) => failure.outcome,
            Self::Late => AttemptOutcome::GatewayError,
        }
    }
}

impl Leg {
    /// Sends the request and reads the reply to its end.
    pub(super) async fn run(mut self) -> Result<PrefillReply, PrefillFailure> {
        let deadline = self.deadline;
        let sent = timeout_at(deadline, self.exchange()).await;
        let result = sent.unwrap_or(Err(Why::Late));
        self.attempt.report(result.as_ref().err().map_or(AttemptOutcome::of(StatusCode::OK), Why::outcome));
        if let Some(span) = &self.span {
            let error = result.as_ref().err().and_then(|why| why.code(self.status));
            span.end(self.status, error, result.as_ref().ok().and_then(|reply| reply.usage));
        }
        match result {
            Ok(reply) => {
                // One token is all that it generates.
                self.picked.first_token(true);
                self.picked.finished(reply.usage.as_ref().and_then(|usage| usage.cached_tokens), 1);
                Ok(reply)
            }
            Err(why) => Err(PrefillFailure { why, picked: Some(self.picked) }),
        }
    }

    async fn exchange(&mut self) -> Result<PrefillReply, Why> {
        let limits = Limits { breaker: Some(&self.breaker), limits: self.rule.policy.breaker.as_ref() };
        let endpoint = self.attempt.endpoint();
        let destination = dial(&self.settings, endpoint, &self.rule.policy.timeouts, limits)
            .map_err(|failure| Why::failed(failure.0, AttemptOutcome::Unknown))?
            .on_behalf_of(self.ends);
        let destination = in_version_of(destination, &self.settings, self.version);
        let head = self.outgoing.head(destination.address, None);
        let head = head.map_err(|error| Why::failed(error.message, AttemptOutcome::Unknown))?;
        let (upstreams, head, body) = (&self.worker.upstreams, head.borrowed(), || RequestBody::held(self.body.clone()));
        let sent = match upstreams.send(&destination, &head, body()).await {
            // A prefill changes nothing: it may be sent again.
            Err(failure) if failure.met_closing_connection() => {
                let destination = Destination { is_fresh: true, ..destination };
                Box::pin(upstreams.send(&destination, &head, body())).await
            }
            sent => sent,
        };
        let exchange = sent.map_err(|failure| Why::failed(&failure, failed(&failure).outcome))?;
        let status = exchange.response.status();
        self.status = Some(status);
        if is_refusal(status) {
            return Err(Why::Refused(Box::new(response(exchange))));
        }
        if status != StatusCode::OK {
            let (detail, outcome) = (format!("it answered {status}"), AttemptOutcome::of(status));
            let response = status.is_client_error().then(|| Box::new(response(exchange)));
            return Err(Why::Failed(LegFailure { detail, outcome, response }));
        }
        read(exchange, self.keeps_reply).await
    }
}

/// Whether a status is about the request, whatever endpoint gets it, and not about the endpoint.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY)
}

fn response(exchange: Exchange) -> BackendResponse {
    let (head, body) = exchange.response.into_parts();
    BackendResponse { head, body: BackendBody::Direct(body), switched: None, reader: None, edit: None }
}

async fn read(exchange: Exchange, keeps_reply: bool) -> Result<PrefillReply, Why> {
    let (head, mut body) = exchange.response.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let mut reader = ResponseReader::of(content_type);
    let is_kept = keeps_reply && reader.as_ref().is_some_and(|reader| !reader.reads_events());
    let mut kept = BytesMut::new();
    while let Some(data) = next(&mut body).await? {
        if let Some(reader) = &mut reader
            && reader.feed(&data).error
        {
            return Err(Why::failed("its reply is an error", AttemptOutcome::GatewayError));
        }
        if is_kept && kept.len() + data.len() > MAX_REPLY {
            return Err(Why::failed("its reply is too long", AttemptOutcome::GatewayError));
        }
        if is_kept {
            kept.extend_from_slice(&data);
        }
    }
    Ok(PrefillReply { body: kept.freeze(), usage: reader.and_then(|reader| reader.usage()) })
}

/// The next data of a body; `None` at its end.
async fn next(body: &mut UpstreamBody) -> Result<Option<Bytes>, Why> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Why::failed(error, AttemptOutcome::Reset)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
