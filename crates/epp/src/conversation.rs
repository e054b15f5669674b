//! One request, from its headers to the end of its response.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use pailou_envoy_proto::ext_proc::{ProcessingRequest, ProcessingResponse, processing_request::Request};
use pailou_extproc::{
    Direction, endpoints,
    server::{BodyMode, EndpointRequest, Messages, Replies, answers, answers::BodyChange, served},
};
use pailou_picker::Eviction;
use tokio::time::timeout;
use tonic::Status;

use crate::{
    EndpointPicker,
    body::{Body, BodyMemory},
    decision::{Decision, Input, Refusal, body_refusal, codings, decide},
    metrics::RequestOutcome,
    observer::ResponseObserver,
};

/// Context of all conversations.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) picker: Arc<EndpointPicker>,
    pub(crate) memory: BodyMemory,
    /// The longest body that is read, in bytes.
    pub(crate) max_body: usize,
    /// Most endpoints in a reply, the best and those to fail over to.
    pub(crate) max_endpoints: usize,
    /// How long nothing may come of a request before its endpoint is chosen.
    pub(crate) request_timeout: Duration,
}

/// Why a conversation ended before a choice.
enum End {
    /// The client gets the reason.
    Refused(Refusal),
    /// The proxy gets a status that names its error.
    Wrong(Status),
    /// The proxy is gone.
    Gone,
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<pailou_extproc::server::ProxyGone> for End {
    fn from(_: pailou_extproc::server::ProxyGone) -> Self {
        Self::Gone
    }
}

/// Answers a proxy until one of both has said all.
pub(crate) async fn converse(context: Context, mut messages: Messages, replies: Replies) {
    let metrics = &context.picker.metrics;
    metrics.conversations.inc();
    let mut conversation = Conversation { context: &context, replies, is_silent: false, echoes: true };
    match conversation.request(&mut messages).await {
        Ok(mut observer) => {
            metrics.ended(RequestOutcome::Picked);
            // A proxy that goes away in the middle ends the request: `observer` gives its permit back.
            match observer.eviction() {
                None => {
                    if conversation.response(&mut messages, &mut observer).await.is_ok() {
                        observer.ended();
                    }
                }
                Some((eviction, reply)) => tokio::select! {
                    biased;
                    () = given(&eviction) => {
                        let _ = conversation.send(*reply).await;
                    }
                    end = conversation.response(&mut messages, &mut observer) => if end.is_ok() { observer.ended() },
                },
            }
        }
        Err(End::Refused(refusal)) => {
            metrics.ended(refusal.outcome);
            let _ = conversation.send(*refusal.reply).await;
        }
        Err(End::Wrong(status)) => {
            metrics.ended(RequestOutcome::Broken);
            tracing::debug!(%status, "a proxy does not keep to the protocol");
            conversation.replies.fail(status).await;
        }
        Err(End::Gone) => metrics.ended(RequestOutcome::Broken),
    }
    metrics.conversations.dec();
}

struct Conversation<'a> {
    context: &'a Context,
    replies: Replies,
    /// The proxy only lets us listen.
    is_silent: bool,
    /// The response's body goes back as a stream of pieces.
    echoes: bool,
}

impl Conversation<'_> {
    async fn send(&self, reply: ProcessingResponse) -> Result<(), End> {
        if self.is_silent {
            return Ok(());
        }
        Ok(self.replies.send(reply).await?)
    }

    /// From the request's headers to the choice, and the body back.
    async fn request(&mut self, messages: &mut Messages) -> Result<ResponseObserver, End> {
        let first = next(self.context, messages).await?.ok_or(End::Gone)?;
        let request = EndpointRequest::read(first).ok_or_else(|| wrong("the request's headers come first"))?;
        (self.is_silent, self.echoes) = (request.observes, request.echoes_response);
        if request.end_of_stream || request.body_mode == BodyMode::Headers {
            let decision = self.decide(&request, Input::default()).await?;
            let change = BodyChange { prefiller: decision.prefill.prefiller, ..BodyChange::default() };
            self.send(answers::chosen(&decision.endpoints, change)).await?;
            return Ok(observer(decision));
        }
        match request.body_mode {
            BodyMode::Buffered => self.buffered(&request, messages).await,
            BodyMode::Duplex | BodyMode::Headers => self.duplex(&request, messages).await,
        }
    }

    /// Decides, unless the proxy goes away while the request waits.
    async fn decide(&self, request: &EndpointRequest, input: Input<'_>) -> Result<Decision, End> {
        tokio::select! {
            biased;
            decision = decide(&self.context.picker, request, input, self.context.max_endpoints) => Ok(decision?),
            () = self.replies.closed() => Err(End::Gone),
        }
    }

    /// Decides by a whole body, and by its decoded form where it is compressed.
    async fn decide_by_body(&self, request: &EndpointRequest, body: &mut Body) -> Result<Decision, End> {
        let text = match codings(request) {
            Some(codings) if !codings.is_identity() => body.decoded(&codings).await.map_err(|why| body_refusal(request, why))?,
            Some(_) => Some(body.whole()),
            None => None,
        };
        self.decide(request, Input { text: text.as_ref(), length: body.length() }).await
    }

    /// The answer to the headers waits for the body.
    async fn duplex(&self, request: &EndpointRequest, messages: &mut Messages) -> Result<ResponseObserver, End> {
        let mut body = Body::new(&self.context.memory, self.context.max_body);
        let has_trailers = loop {
            match next(self.context, messages).await?.ok_or(End::Gone)?.request {
                Some(Request::RequestBody(piece)) => {
                    body.push(piece.body).map_err(|why| body_refusal(request, why))?;
                    if piece.end_of_stream {
                        break false;
                    }
                }
                Some(Request::RequestTrailers(_)) => break true,
                _ => return Err(wrong("the request's body or trailers were to come")),
            }
        };
        let decision = self.decide_by_body(request, &mut body).await?;
        let changed = decision.changed.as_ref();
        let length = changed.filter(|_| request.headers.contains_key("content-length")).map(pailou_ai::Pieces::len);
        let is_decoded = changed.is_some() && is_coded(request);
        let change = BodyChange { length, is_decoded, prefiller: decision.prefill.prefiller };
        self.send(answers::chosen(&decision.endpoints, change)).await?;
        match changed {
            Some(pieces) => self.back(&pieces.iter().cloned().collect::<Vec<_>>(), !has_trailers).await?,
            None => self.back(&[body.whole()], !has_trailers).await?,
        }
        if has_trailers {
            self.send(answers::trailers(Direction::Request)).await?;
        }
        Ok(observer(decision))
    }

    async fn back(&self, pieces: &[Bytes], end_of_stream: bool) -> Result<(), End> {
        for reply in answers::streamed(Direction::Request, pieces, end_of_stream) {
            self.send(reply).await?;
        }
        Ok(())
    }

    /// The body comes as one, once the headers are answered.
    async fn buffered(&self, request: &EndpointRequest, messages: &mut Messages) -> Result<ResponseObserver, End> {
        self.send(answers::headers(Direction::Request)).await?;
        let mut body = Body::new(&self.context.memory, self.context.max_body);
        match next(self.context, messages).await?.ok_or(End::Gone)?.request {
            Some(Request::RequestBody(piece)) => body.push(piece.body).map_err(|why| body_refusal(request, why))?,
            _ => return Err(wrong("the request's body was to come")),
        }
        let decision = self.decide_by_body(request, &mut body).await?;
        let changed = decision.changed.as_ref().map(pailou_ai::Pieces::to_bytes);
        let is_decoded = changed.is_some() && is_coded(request);
        let change = BodyChange { is_decoded, prefiller: decision.prefill.prefiller, ..BodyChange::default() };
        self.send(answers::chosen_by_body(&decision.endpoints, changed, change)).await?;
        Ok(observer(decision))
    }

    /// Answers the rest of the request, and the response.
    async fn response(&self, messages: &mut Messages, observer: &mut ResponseObserver) -> Result<(), End> {
        while let Some(message) = messages.message().await.map_err(|_| End::Gone)? {
            let metadata = message.metadata_context;
            match message.request {
                Some(Request::RequestHeaders(_)) => return Err(End::Gone),
                Some(Request::RequestBody(_)) => self.send(answers::unchanged(Direction::Request)).await?,
                Some(Request::RequestTrailers(_)) => self.send(answers::trailers(Direction::Request)).await?,
                Some(Request::ResponseHeaders(head)) => {
                    observer.head(&head, served(metadata.as_ref()));
                    let answer =
                        if observer.renames() { answers::headers_without_length() } else { answers::headers(Direction::Response) };
                    self.send(answer).await?;
                }
                Some(Request::ResponseBody(piece)) => {
                    observer.piece(&piece.body);
                    let renames = observer.renames();
                    let body = observer.renamed(piece.body, piece.end_of_stream);
                    if !self.echoes {
                        let answer = if renames { answers::replaced(body) } else { answers::unchanged(Direction::Response) };
                        self.send(answer).await?;
                        continue;
                    }
                    for reply in answers::streamed(Direction::Response, &[body], piece.end_of_stream) {
                        self.send(reply).await?;
                    }
                }
                Some(Request::ResponseTrailers(_)) => self.send(answers::trailers(Direction::Response)).await?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Waits for the signal to give up a place.
async fn given(eviction: &Eviction) {
    poll_fn(|context| if eviction.poll_given(context) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Whether the body came in content codings, which a changed one has lost.
fn is_coded(request: &EndpointRequest) -> bool {
    request.headers.contains_key("content-encoding")
}

async fn next(context: &Context, messages: &mut Messages) -> Result<Option<ProcessingRequest>, End> {
    match timeout(context.request_timeout, messages.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Wrong(Status::deadline_exceeded("the request did not go on for too long"))),
    }
}

fn wrong(message: &str) -> End {
    End::Wrong(Status::failed_precondition(message))
}

fn observer(decision: Decision) -> ResponseObserver {
    let endpoints = endpoints::parse(&decision.endpoints).unwrap_or_default();
    ResponseObserver::new(decision.picked, decision.prefill.picked, endpoints, decision.renamed, decision.evicted)
}
