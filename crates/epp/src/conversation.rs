//! One request, from its headers to the end of its response.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use pailou_envoy_proto::ext_proc::{ProcessingRequest, ProcessingResponse, processing_request::Request};
use pailou_extproc::{
    endpoints,
    server::{
        Asked, Messages, Replies, Way,
        answers::{self, Half},
        served,
    },
};
use tokio::time::timeout;
use tonic::Status;

use crate::{
    EndpointPicker,
    body::{Body, Room},
    decision::{Decision, Refusal, decide, full},
    metrics::Outcome,
    watching::Watching,
};

/// What conversations have in common.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) picker: Arc<EndpointPicker>,
    pub(crate) room: Room,
    /// The longest body that is read, in bytes.
    pub(crate) max_body: usize,
    /// Endpoints that a proxy is told, the best and those to fail over to.
    pub(crate) max_endpoints: usize,
    /// How long nothing may come of a request before its endpoint is chosen.
    pub(crate) patience: Duration,
}

/// Why a conversation ended before a choice.
enum End {
    /// The client is told why.
    Refused(Refusal),
    /// The proxy is told what it did wrong.
    Wrong(Status),
    /// There is nobody to be told.
    Gone,
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<pailou_extproc::server::Gone> for End {
    fn from(_: pailou_extproc::server::Gone) -> Self {
        Self::Gone
    }
}

/// Answers a proxy until one of both has said all.
pub(crate) async fn converse(desk: Desk, mut messages: Messages, replies: Replies) {
    let metrics = &desk.picker.metrics;
    metrics.conversations.inc();
    let mut talk = Talk { desk: &desk, replies, is_silent: false, echoes: true };
    match talk.request(&mut messages).await {
        Ok(mut watching) => {
            metrics.ended(Outcome::Picked);
            // Whoever goes away in the middle ends the request: its place is given back with `watching`.
            if talk.response(&mut messages, &mut watching).await.is_ok() {
                watching.ended();
            }
        }
        Err(End::Refused(refusal)) => {
            metrics.ended(refusal.outcome);
            let _ = talk.say(*refusal.reply).await;
        }
        Err(End::Wrong(status)) => {
            metrics.ended(Outcome::Broken);
            tracing::debug!(%status, "a proxy does not keep to the protocol");
            talk.replies.fail(status).await;
        }
        Err(End::Gone) => metrics.ended(Outcome::Broken),
    }
    metrics.conversations.dec();
}

struct Talk<'a> {
    desk: &'a Desk,
    replies: Replies,
    /// The proxy only lets us listen.
    is_silent: bool,
    /// The response's body goes back as a stream of pieces.
    echoes: bool,
}

impl Talk<'_> {
    async fn say(&self, reply: ProcessingResponse) -> Result<(), End> {
        if self.is_silent {
            return Ok(());
        }
        Ok(self.replies.say(reply).await?)
    }

    /// From the request's headers to the choice, and the body back.
    async fn request(&mut self, messages: &mut Messages) -> Result<Watching, End> {
        let first = next(self.desk, messages).await?.ok_or(End::Gone)?;
        let asked = Asked::read(first).ok_or_else(|| wrong("the request's headers come first"))?;
        (self.is_silent, self.echoes) = (asked.observes, asked.echoes_response);
        if asked.end_of_stream || asked.way == Way::Headers {
            let decision = self.decide(&asked, &Bytes::new())?;
            self.say(answers::chosen(&decision.endpoints, None)).await?;
            return Ok(watching(decision));
        }
        match asked.way {
            Way::Buffered => self.buffered(&asked, messages).await,
            Way::Duplex | Way::Headers => self.duplex(&asked, messages).await,
        }
    }

    fn decide(&self, asked: &Asked, body: &Bytes) -> Result<Decision, Refusal> {
        decide(&self.desk.picker, asked, body, self.desk.max_endpoints)
    }

    /// The answer to the headers waits for the body.
    async fn duplex(&self, asked: &Asked, messages: &mut Messages) -> Result<Watching, End> {
        let mut body = Body::new(&self.desk.room, self.desk.max_body);
        let has_trailers = loop {
            match next(self.desk, messages).await?.ok_or(End::Gone)?.request {
                Some(Request::RequestBody(piece)) => {
                    body.push(piece.body).map_err(|why| full(asked, why))?;
                    if piece.end_of_stream {
                        break false;
                    }
                }
                Some(Request::RequestTrailers(_)) => break true,
                _ => return Err(wrong("the request's body or trailers were to come")),
            }
        };
        let whole = body.whole();
        let decision = self.decide(asked, &whole)?;
        let changed = decision.changed.as_ref();
        let length = changed.filter(|_| asked.headers.contains_key("content-length")).map(pailou_ai::Pieces::len);
        self.say(answers::chosen(&decision.endpoints, length)).await?;
        match changed {
            Some(pieces) => self.back(&pieces.iter().cloned().collect::<Vec<_>>(), !has_trailers).await?,
            None => self.back(&[whole], !has_trailers).await?,
        }
        if has_trailers {
            self.say(answers::trailers(Half::Request)).await?;
        }
        Ok(watching(decision))
    }

    async fn back(&self, pieces: &[Bytes], end_of_stream: bool) -> Result<(), End> {
        for reply in answers::streamed(Half::Request, pieces, end_of_stream) {
            self.say(reply).await?;
        }
        Ok(())
    }

    /// The body comes as one, once the headers are answered.
    async fn buffered(&self, asked: &Asked, messages: &mut Messages) -> Result<Watching, End> {
        self.say(answers::headers(Half::Request)).await?;
        let mut body = Body::new(&self.desk.room, self.desk.max_body);
        match next(self.desk, messages).await?.ok_or(End::Gone)?.request {
            Some(Request::RequestBody(piece)) => body.push(piece.body).map_err(|why| full(asked, why))?,
            _ => return Err(wrong("the request's body was to come")),
        }
        let decision = self.decide(asked, &body.whole())?;
        let changed = decision.changed.as_ref().map(pailou_ai::Pieces::to_bytes);
        self.say(answers::chosen_by_body(&decision.endpoints, changed)).await?;
        Ok(watching(decision))
    }

    /// What is left of the request, and the response.
    async fn response(&self, messages: &mut Messages, watching: &mut Watching) -> Result<(), End> {
        while let Some(message) = messages.message().await.map_err(|_| End::Gone)? {
            let metadata = message.metadata_context;
            match message.request {
                Some(Request::RequestHeaders(_)) => return Err(End::Gone),
                Some(Request::RequestBody(_)) => self.say(answers::unchanged(Half::Request)).await?,
                Some(Request::RequestTrailers(_)) => self.say(answers::trailers(Half::Request)).await?,
                Some(Request::ResponseHeaders(head)) => {
                    watching.head(&head, served(metadata.as_ref()));
                    self.say(answers::headers(Half::Response)).await?;
                }
                Some(Request::ResponseBody(piece)) => {
                    watching.piece(&piece.body);
                    if !self.echoes {
                        self.say(answers::unchanged(Half::Response)).await?;
                        continue;
                    }
                    for reply in answers::streamed(Half::Response, &[piece.body], piece.end_of_stream) {
                        self.say(reply).await?;
                    }
                }
                Some(Request::ResponseTrailers(_)) => self.say(answers::trailers(Half::Response)).await?,
                None => {}
            }
        }
        Ok(())
    }
}

async fn next(desk: &Desk, messages: &mut Messages) -> Result<Option<ProcessingRequest>, End> {
    match timeout(desk.patience, messages.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Wrong(Status::deadline_exceeded("the request did not go on for too long"))),
    }
}

fn wrong(message: &str) -> End {
    End::Wrong(Status::failed_precondition(message))
}

fn watching(decision: Decision) -> Watching {
    let told = endpoints::parse(&decision.endpoints).unwrap_or_default();
    Watching::new(decision.picked, told)
}
