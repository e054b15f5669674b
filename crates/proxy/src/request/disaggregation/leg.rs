//! A request to an endpoint that prefills, from its head to the end of its reply.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use http_body_util::BodyExt;
use pailou_ai::{Pieces, ResponseReader, Usage};
use pailou_picker::Picked;
use pailou_snapshot::Rule;
use tokio::time::{Instant, timeout_at};

use crate::{
    backend_body::BackendBody,
    breaker::Breaker,
    cluster::{Attempt, AttemptOutcome, ClusterSettings},
    proxy_protocol::Ends,
    request::{answer::BackendResponse, outgoing::Outgoing},
    request_body::RequestBody,
    upstream::{Exchange, Limits, UpstreamBody, dial},
    worker::Worker,
};

/// Longest reply, in bytes: it names each block of the prompt.
const MAX_REPLY: usize = 8 << 20;

/// All that a prefill needs, of its own: it may outlive the attempt.
pub(super) struct Leg {
    pub(super) settings: Arc<ClusterSettings>,
    pub(super) attempt: Attempt,
    /// The place at the endpoint that is reserved.
    pub(super) picked: Picked,
    pub(super) outgoing: Outgoing,
    pub(super) body: Pieces,
    pub(super) worker: Arc<Worker>,
    pub(super) rule: Arc<Rule>,
    pub(super) breaker: Arc<Breaker>,
    pub(super) ends: Ends,
    pub(super) deadline: Instant,
}

/// The end of a prefill.
pub(crate) struct PrefillReply {
    /// The reply's body where it is JSON; nothing of a stream.
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
    Failed(String),
    /// It took too long.
    Late,
}

impl Leg {
    /// Sends the request and reads the reply to its end.
    pub(super) async fn run(mut self) -> Result<PrefillReply, PrefillFailure> {
        let deadline = self.deadline;
        let sent = timeout_at(deadline, self.exchange()).await;
        let result = sent.unwrap_or(Err(Why::Late));
        let outcome = match &result {
            Ok(_) => AttemptOutcome::of(StatusCode::OK),
            Err(Why::Refused(response)) => AttemptOutcome::of(response.head.status),
            Err(Why::Failed(_) | Why::Late) => AttemptOutcome::GatewayError,
        };
        self.attempt.report(outcome);
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
            .map_err(|failure| Why::Failed(failure.0.to_string()))?
            .on_behalf_of(self.ends);
        let head = self.outgoing.head(destination.address, None).map_err(|error| Why::Failed(error.message))?;
        let body = RequestBody::held(std::mem::take(&mut self.body));
        let sent = self.worker.upstreams.send(&destination, &head.borrowed(), body).await;
        let exchange = sent.map_err(|failure| Why::Failed(failure.to_string()))?;
        let status = exchange.response.status();
        if status.is_client_error() {
            return Err(Why::Refused(Box::new(refusal(exchange))));
        }
        if status != StatusCode::OK {
            return Err(Why::Failed(format!("it answered {status}")));
        }
        read(exchange).await
    }
}

fn refusal(exchange: Exchange) -> BackendResponse {
    let (head, body) = exchange.response.into_parts();
    BackendResponse { head, body: BackendBody::Direct(body), switched: None, reader: None, edit: None }
}

async fn read(exchange: Exchange) -> Result<PrefillReply, Why> {
    let (head, mut body) = exchange.response.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let mut reader = ResponseReader::of(content_type);
    let is_kept = reader.as_ref().is_some_and(|reader| !reader.reads_events());
    let mut kept = BytesMut::new();
    while let Some(data) = next(&mut body).await? {
        if let Some(reader) = &mut reader
            && reader.feed(&data).error
        {
            return Err(Why::Failed("its reply is an error".to_owned()));
        }
        if is_kept && kept.len() + data.len() > MAX_REPLY {
            return Err(Why::Failed("its reply is too long".to_owned()));
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
            Some(Err(error)) => return Err(Why::Failed(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
