//! A conversation with a picker up to its choice.

use std::net::SocketAddr;

use bytes::Bytes;
use pailou_envoy_proto::{
    LocalReply,
    ext_proc::{
        BodyMutation, BodySendMode, CommonResponse, HeaderMutation, HeaderSendMode, ProcessingMode, ProcessingResponse,
        ResponseStatus, body_mutation::Mutation, processing_response::Response,
    },
};
use prost_types::value::Kind;
use tonic::Streaming;

use super::{echo::Echo, failure::Failure, outbox::OutboxSender};
use crate::{
    Room, endpoints,
    names::{ENDPOINT, ENDPOINT_NAMESPACE},
};

/// Decision of a picker.
#[derive(Debug)]
pub enum Verdict {
    /// The request goes to these endpoints.
    Go(Box<Choice>),
    /// The client is answered.
    LocalReply(LocalReply),
}

/// Endpoints for a request, and changes to it.
pub struct Choice {
    /// To be tried in order; never empty.
    pub endpoints: Vec<SocketAddr>,
    /// Changes of the request's headers, in order.
    pub headers: Vec<HeaderMutation>,
    /// The body that takes the place of the one sent; `None` leaves it.
    pub body: Option<Vec<Bytes>>,
    /// Room that the body takes.
    pub room: Box<dyn Room>,
    /// The picker, which observes the response; `None` if it wants nothing of it.
    pub listener: Option<Listener>,
}

impl std::fmt::Debug for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Choice").field("endpoints", &self.endpoints).field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// A picker that listens on.
pub struct Listener {
    pub(super) replies: Streaming<ProcessingResponse>,
    pub(super) sender: OutboxSender,
    /// Whether the picker wants the response's body, not only its headers.
    pub(super) wants_body: bool,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("wants_body", &self.wants_body).finish_non_exhaustive()
    }
}

/// A request as a picker was sent it.
pub(super) struct Asked {
    pub(super) sender: OutboxSender,
    pub(super) body: Vec<Bytes>,
    /// The body as messages have it.
    pub(super) chunks: Vec<Bytes>,
    /// Most bytes of a body that comes back.
    pub(super) max_length: usize,
}

/// A conversation that has begun.
pub struct Conversation {
    replies: Streaming<ProcessingResponse>,
    sender: OutboxSender,
    state: PickerState,
}

/// A picker's messages about a request, so far.
struct PickerState {
    /// As it was sent.
    body: Vec<Bytes>,
    echo: Echo,
    /// The body that came back, once it differs.
    changed: Option<Vec<Bytes>>,
    /// Bytes come back.
    length: usize,
    max_length: usize,
    room: Box<dyn Room>,
    /// Bytes that the picker made, and not the client.
    held: u64,
    headers_answered: bool,
    headers: Vec<HeaderMutation>,
    /// By metadata, and by header: the former counts.
    chosen: [Option<String>; 2],
    mode: Option<ProcessingMode>,
}

impl Conversation {
    pub(super) fn new(replies: Streaming<ProcessingResponse>, asked: Asked, room: Box<dyn Room>) -> Self {
        let Asked { sender, body, chunks, max_length } = asked;
        let mut echo = Echo::new();
        chunks.into_iter().for_each(|chunk| echo.sent(chunk));
        let state = PickerState {
            body,
            echo,
            changed: None,
            length: 0,
            max_length,
            room,
            held: 0,
            headers_answered: false,
            headers: Vec::new(),
            chosen: [None, None],
            mode: None,
        };
        Self { replies, sender, state }
    }

    /// Waits until the picker has decided. The caller bounds the time.
    ///
    /// # Errors
    /// It did not, or what it chose is no endpoint.
    pub async fn verdict(mut self) -> Result<Verdict, Failure> {
        loop {
            match self.replies.message().await {
                Ok(Some(reply)) => {
                    if let Some(reply) = self.state.receive(reply)? {
                        return Ok(Verdict::LocalReply(reply));
                    }
                    if self.state.is_all() {
                        return self.state.choice(Some((self.replies, self.sender)));
                    }
                }
                // The stream closed: messages so far count, and the rest goes on unchanged.
                Ok(None) => return self.state.choice(None),
                Err(_) if self.state.headers_answered && self.state.has_chosen() => return self.state.choice(None),
                Err(status) => return Err(status.into()),
            }
        }
    }
}

impl PickerState {
    /// Whether nothing more is to come of the request.
    fn is_all(&self) -> bool {
        self.headers_answered && self.echo.is_settled()
    }

    fn has_chosen(&self) -> bool {
        self.chosen.iter().any(Option::is_some)
    }

    fn receive(&mut self, reply: ProcessingResponse) -> Result<Option<LocalReply>, Failure> {
        let metadata = reply.dynamic_metadata.as_ref().and_then(|metadata| metadata.fields.get(ENDPOINT_NAMESPACE));
        if let Some(Kind::StructValue(fields)) = metadata.and_then(|value| value.kind.as_ref())
            && let Some(Kind::StringValue(endpoint)) = fields.fields.get(ENDPOINT).and_then(|value| value.kind.as_ref())
        {
            self.chosen[0] = Some(endpoint.clone());
        }
        self.mode = reply.mode_override.or(self.mode);
        match reply.response {
            Some(Response::ImmediateResponse(response)) => return Ok(Some(response.into())),
            Some(Response::RequestHeaders(answer)) => {
                self.headers_answered = true;
                let mut answer = answer.response.unwrap_or_default();
                if answer.status() == ResponseStatus::ContinueAndReplace {
                    self.replaced(answer.body_mutation.take())?;
                }
                self.changes(answer);
            }
            Some(Response::RequestBody(answer)) => {
                let mut answer = answer.response.unwrap_or_default();
                let mutation = answer.body_mutation.take();
                let before = self.echo.is_verbatim();
                let back = self.echo.back(mutation);
                self.came_back(back, before)?;
                self.changes(answer);
            }
            // Of a response that there is not yet, or of trailers that were not sent.
            _ => {}
        }
        Ok(None)
    }

    /// The body is replaced together with the headers.
    fn replaced(&mut self, with: Option<BodyMutation>) -> Result<(), Failure> {
        self.echo.replaced();
        (self.changed, self.length) = (Some(Vec::new()), 0);
        match with.and_then(|mutation| mutation.mutation) {
            Some(Mutation::Body(body)) => self.came_back(body, false),
            _ => Ok(()),
        }
    }

    /// Takes changes of the headers, which may hold the choice.
    fn changes(&mut self, answer: CommonResponse) {
        let Some(mutation) = answer.header_mutation else { return };
        let mut named = mutation.set_headers.iter().filter_map(|option| option.header.as_ref());
        if let Some(header) = named.rfind(|header| header.key.eq_ignore_ascii_case(ENDPOINT)) {
            self.chosen[1] = Some(String::from_utf8_lossy(header.bytes()).into_owned());
        }
        self.headers.push(mutation);
    }

    /// A piece came back, all before which was, or was not, as it had been sent.
    fn came_back(&mut self, piece: Bytes, verbatim_before: bool) -> Result<(), Failure> {
        if verbatim_before && !self.echo.is_verbatim() {
            self.changed = Some(beginning(&self.body, self.length));
        }
        self.length += piece.len();
        if self.length > self.max_length {
            return Err(Failure::TooLong(self.max_length));
        }
        if let Some(changed) = &mut self.changed {
            self.held += piece.len() as u64;
            if !self.room.hold(self.held) {
                return Err(Failure::NoRoom);
            }
            changed.push(piece);
        }
        Ok(())
    }

    fn choice(mut self, open: Option<(Streaming<ProcessingResponse>, OutboxSender)>) -> Result<Verdict, Failure> {
        let chosen = self.chosen.iter().flatten().next().ok_or(Failure::NoChoice)?;
        let endpoints = endpoints::parse(chosen)?;
        if endpoints.is_empty() {
            return Err(Failure::NoChoice);
        }
        if !self.echo.is_settled() {
            let rest = self.echo.rest().ok_or(Failure::BrokeOff)?;
            if let Some(changed) = &mut self.changed {
                changed.extend(rest);
            }
        }
        let wants = |mode: i32| mode != HeaderSendMode::Skip as i32;
        let listener = open.filter(|_| self.mode.is_none_or(|mode| wants(mode.response_header_mode)));
        let wants_body = self.mode.is_none_or(|mode| mode.response_body_mode != BodySendMode::None as i32);
        let listener = listener.map(|(replies, sender)| Listener { replies, sender, wants_body });
        Ok(Verdict::Go(Box::new(Choice { endpoints, headers: self.headers, body: self.changed, room: self.room, listener })))
    }
}

/// The first bytes of a body.
fn beginning(body: &[Bytes], mut length: usize) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    for piece in body {
        let taken = piece.len().min(length);
        if taken > 0 {
            pieces.push(piece.slice(..taken));
        }
        length -= taken;
    }
    pieces
}
