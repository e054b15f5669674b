//! A request on its way past a processor.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header, uri::PathAndQuery};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use pailou_envoy_proto::{
    core::Metadata,
    ext_proc::{CommonResponse, HeaderMutation},
};
use pailou_extproc::{
    Direction,
    processor::{
        Answer, BodyMode, DrivenBody, Lane, Observer, Reply,
        change::{self, InvalidChange},
        message::{self, Envelope, RequestLine},
        passage::{self, PassageError},
    },
};
use tokio::{sync::oneshot, time::Instant, time::timeout};

use super::{Processor, RequestMetadata, Stream, replaces};
use crate::{
    context::Share,
    error::{Error, Flag},
    filter::Stage,
    request_head::Head,
    request_input::RequestInput,
    server::{ClientBody, ClientBodyError},
};

/// A request, and the processor that it passes.
pub(super) struct Passing<'p, 's> {
    pub(super) processor: &'p mut Processor,
    pub(super) stage: &'p Stage<'s>,
    pub(super) head: &'p mut Head,
    pub(super) metadata: &'p mut RequestMetadata,
    pub(super) clears_route: &'p mut bool,
}

impl Passing<'_, '_> {
    /// Passes the headers, and the body as the processor wants it.
    ///
    /// # Errors
    /// The processor's answer, or that it failed; 413 where a body that it is to get as one is too long.
    pub(super) async fn run(mut self, input: RequestInput) -> Result<RequestInput, Error> {
        let modes = self.processor.modes;
        if !modes.request.headers {
            return Ok(input);
        }
        let has_bodies = [modes.request.body, modes.response.body].iter().any(|body| *body != BodyMode::None);
        if self.head.upgrade.is_some() && has_bodies && !self.processor.settings.fail_open {
            let error = Error::new(Flag::ExtProc, "connections cannot be upgraded here");
            let detail = "an external processor gets the bodies, and would see nothing of the connection";
            return Err(Error { status: StatusCode::NOT_IMPLEMENTED, ..error.with_detail(detail) });
        }
        let has_body = !matches!(input, RequestInput::Absent);
        let mut lane = self.begin(has_body);
        if self.processor.settings.shadow_mode {
            return Ok(self.observed(&lane, input));
        }
        let is_duplex = modes.request.body == BodyMode::FullDuplexStreamed;
        if is_duplex && has_body {
            return self.full_duplex(lane, input).await;
        }
        // There is no clock where the body goes both ways, as in Envoy.
        let due = (!is_duplex).then(|| Instant::now() + self.processor.settings.message_timeout);
        let reply = match lane.reply(due).await {
            Ok(reply) => reply,
            Err(ending) => return self.processor.ended(ending).map(|()| input),
        };
        let answer = self.headers(reply)?;
        if replaces(&answer) {
            return self.replaced(answer, input).await;
        }
        match (self.processor.modes.request.body, input) {
            (BodyMode::None, input) | (_, input @ RequestInput::Absent) => Ok(input),
            (BodyMode::Buffered, input) => self.buffered(lane, input).await,
            (BodyMode::BufferedPartial, input @ RequestInput::Read(_)) => self.buffered(lane, input).await,
            (BodyMode::BufferedPartial, input) => self.partial(lane, input).await,
            (BodyMode::Streamed, input) => self.streamed(lane, input).await,
            (BodyMode::FullDuplexStreamed, _) => {
                Err(self.processor.invalid("its mode_override is FullDuplexStreamed, after the headers were sent in another mode"))
            }
        }
    }

    /// Sends the headers.
    fn begin(&mut self, has_body: bool) -> Lane {
        let Self { processor, stage, head, metadata, .. } = self;
        let parts = &head.parts;
        let line = RequestLine {
            method: &parts.method,
            scheme: if stage.connection.tls.is_some() { "https" } else { "http" },
            authority: &head.authority,
            path: parts.uri.path_and_query().map_or("/", PathAndQuery::as_str),
        };
        let envelope = Envelope {
            attributes: processor.attributes.of_request(),
            metadata: processor.metadata(metadata),
            modes: Some(processor.modes),
            is_observed: processor.settings.shadow_mode,
        };
        let first = message::request_headers(line, &parts.headers, !has_body, envelope);
        processor.open(first, stage.runtime, stage.connection, &stage.bounds)
    }

    /// Shows the body, and waits for nothing.
    fn observed(&self, lane: &Lane, mut input: RequestInput) -> RequestInput {
        if self.processor.modes.request.body == BodyMode::None {
            return input;
        }
        let observer = Observer::new(Arc::clone(lane.session()), Direction::Request, self.metadata());
        match &mut input {
            RequestInput::Absent => {}
            RequestInput::Read(read) => observer.show(&read.bytes, true),
            RequestInput::Unread(unread) => {
                let source = std::mem::take(&mut unread.rest.body);
                unread.rest.body = ClientBody::filtered(DrivenBody::new(|sink| observer.watch(source, sink)));
            }
        }
        input
    }

    /// Takes the answer to the headers.
    fn headers(&mut self, reply: Reply) -> Result<CommonResponse, Error> {
        let Answer::Headers(answer) = reply.answer else {
            return Err(self.processor.invalid("it answered something that it was not sent"));
        };
        self.processor.take(reply.mode, reply.metadata, self.metadata);
        self.change(answer.header_mutation.as_ref(), replaces(&answer))?;
        *self.clears_route |= answer.clear_route_cache;
        Ok(answer)
    }

    fn change(&mut self, mutation: Option<&HeaderMutation>, replaces: bool) -> Result<(), Error> {
        let Some(mutation) = mutation else { return Ok(()) };
        let changed = change_head(self.head, mutation, replaces);
        changed.map_err(|error| self.processor.invalid(error))
    }

    /// The body that takes the place of the client's, if one does. The processor gets no more of the request.
    async fn replaced(&mut self, answer: CommonResponse, input: RequestInput) -> Result<RequestInput, Error> {
        let Some(mutation) = answer.body_mutation else { return Ok(input) };
        let body = change::piece(Bytes::new(), Some(mutation)).map_err(|error| self.processor.invalid(error))?;
        self.replace(body).await
    }

    async fn replace(&mut self, body: Bytes) -> Result<RequestInput, Error> {
        self.head.parts.headers.remove(header::CONTENT_LENGTH);
        if body.is_empty() {
            return Ok(RequestInput::Absent);
        }
        RequestInput::replaced(body, self.head, &self.stage.connection.worker.context, &self.stage.bounds).await
    }

    fn metadata(&self) -> Option<Metadata> {
        self.processor.metadata(self.metadata)
    }

    /// Sends the body as one.
    async fn buffered(&mut self, lane: Lane, input: RequestInput) -> Result<RequestInput, Error> {
        let input = input.read_all(self.head, &self.stage.connection.worker.context, &self.stage.bounds).await?;
        let Some(read) = input.call() else { return Ok(input) };
        let bytes = read.bytes.clone();
        match self.exchange(lane, &bytes, true).await? {
            Some(changed) => self.replace(changed).await,
            None => Ok(input),
        }
    }

    /// Sends the body as one as far as it is not too long. The rest goes on without the processor.
    async fn partial(&mut self, lane: Lane, input: RequestInput) -> Result<RequestInput, Error> {
        let RequestInput::Unread(mut unread) = input else { return Ok(input) };
        let mut source = std::mem::take(&mut unread.rest.body);
        let mut share = Share::new(self.stage.connection.worker.context.clone());
        let (first, is_all) = begin_of(&mut source, self.stage.bounds.bytes, self.stage.bounds.idle, &mut share).await?;
        let changed = self.exchange(lane, &first, is_all).await?.unwrap_or(first);
        if is_all {
            return self.replace(changed).await;
        }
        self.head.parts.headers.remove(header::CONTENT_LENGTH);
        unread.rest.body = ClientBody::filtered(DrivenBody::new(|sink| async move {
            if !changed.is_empty() && sink.send(Frame::data(changed)).await.is_err() {
                return Ok(());
            }
            drop(share);
            while let Some(frame) = source.frame().await {
                if sink.send(frame?).await.is_err() {
                    break;
                }
            }
            Ok(())
        }));
        Ok(RequestInput::Unread(unread))
    }

    /// Sends a body as one piece, and takes the answer. Gives the body that takes its place, where one does.
    async fn exchange(&mut self, mut lane: Lane, body: &Bytes, is_all: bool) -> Result<Option<Bytes>, Error> {
        lane.send(message::body(Direction::Request, body, is_all, self.metadata().as_ref()));
        let due = Instant::now() + self.processor.settings.message_timeout;
        let reply = match lane.reply(Some(due)).await {
            Ok(reply) => reply,
            Err(ending) => return self.processor.ended(ending).map(|()| None),
        };
        let Answer::Body(answer) = reply.answer else {
            return Err(self.processor.invalid("it answered something that it was not sent"));
        };
        self.processor.write(reply.metadata, self.metadata);
        self.change(answer.header_mutation.as_ref(), replaces(&answer))?;
        *self.clears_route |= answer.clear_route_cache;
        let Some(mutation) = answer.body_mutation else { return Ok(None) };
        change::piece(body.clone(), Some(mutation)).map(Some).map_err(|error| self.processor.invalid(error))
    }

    /// Sends the body in pieces.
    async fn streamed(&mut self, lane: Lane, mut input: RequestInput) -> Result<RequestInput, Error> {
        let source = source(&mut input);
        let settings = self.processor.passage(self.processor.modes.request, self.metadata());
        let passed = |sink| async move { passage::streamed(lane, source, sink, settings).await.map_err(given_up) };
        self.put(input, DrivenBody::new(passed)).await
    }

    /// Sends the body in pieces while another comes back. The answer to the headers may come after much of it.
    async fn full_duplex(mut self, lane: Lane, mut input: RequestInput) -> Result<RequestInput, Error> {
        let source = source(&mut input);
        let settings = self.processor.passage(self.processor.modes.request, self.metadata());
        let (answered, mut answer) = oneshot::channel();
        let passed = |sink| async move { passage::full_duplex(lane, source, sink, settings, answered).await.map_err(given_up) };
        let mut body = DrivenBody::new(passed);
        let reply = poll_fn(|context| {
            let _ = body.poll_work(context);
            Pin::new(&mut answer).poll(context)
        });
        match reply.await {
            Ok(reply) => {
                let answer = self.headers(reply)?;
                if replaces(&answer) {
                    return self.replaced(answer, input).await;
                }
            }
            // The server has left. The body goes on without it, unless that must not be.
            Err(_) => {
                if let Some(error) = self.refusal() {
                    return Err(error);
                }
            }
        }
        self.put(input, body).await
    }

    /// Puts a body in the place of the client's. One that was read stays read.
    async fn put(&mut self, mut input: RequestInput, mut body: DrivenBody<ClientBodyError>) -> Result<RequestInput, Error> {
        self.head.parts.headers.remove(header::CONTENT_LENGTH);
        if let RequestInput::Unread(unread) = &mut input {
            unread.rest.body = ClientBody::filtered(body);
            if let Stream::Open(open) = &mut self.processor.stream {
                open.has_request_body = true;
            }
            return Ok(input);
        }
        let limit = self.stage.bounds.bytes;
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return Err(self.refusal().unwrap_or_else(|| broken(&error))),
            };
            if let Some(data) = frame.data_ref() {
                whole.extend_from_slice(data);
            }
            if whole.len() as u64 > limit {
                return Err(self.processor.invalid(format!("it made the body longer than {limit} bytes")));
            }
        }
        self.replace(whole.freeze()).await
    }

    fn refusal(&mut self) -> Option<Error> {
        let Stream::Open(open) = &self.processor.stream else { return None };
        let ending = open.session.ending()?;
        self.processor.ended(ending).err()
    }
}

/// The body, taken from the input, or a copy of what was read.
fn source(input: &mut RequestInput) -> ClientBody {
    match input {
        RequestInput::Unread(unread) => std::mem::take(&mut unread.rest.body),
        RequestInput::Read(read) => ClientBody::whole(read.bytes.clone()),
        RequestInput::Absent => ClientBody::default(),
    }
}

fn given_up(error: PassageError<ClientBodyError>) -> ClientBodyError {
    match error {
        PassageError::Source(error) => error,
        PassageError::Refused(_) => ClientBodyError::Filtered("an external processor ended the request".to_owned()),
    }
}

fn change_head(head: &mut Head, mutation: &HeaderMutation, replaces: bool) -> Result<(), InvalidChange> {
    let path = change::path(mutation)?;
    let method = if replaces { change::method(mutation)? } else { None };
    change::headers(mutation, &mut head.parts.headers)?;
    if let Some(path) = path {
        head.set_path(path);
    }
    if let Some(method) = method {
        head.parts.method = method;
    }
    Ok(())
}

/// A body's first bytes, until there are more than `limit`, and whether they are all.
async fn begin_of(source: &mut ClientBody, limit: u64, idle: Option<Duration>, share: &mut Share) -> Result<(Bytes, bool), Error> {
    let mut first = BytesMut::new();
    loop {
        let next = source.frame();
        let frame = match idle {
            Some(idle) => timeout(idle, next).await.map_err(|_| late())?,
            None => next.await,
        };
        let Some(frame) = frame else { return Ok((first.freeze(), true)) };
        if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
            first.extend_from_slice(&data);
            share.grow_to(first.len() as u64)?;
            if first.len() as u64 > limit && !source.is_end_stream() {
                return Ok((first.freeze(), false));
            }
        }
    }
}

fn late() -> Error {
    Error::new(Flag::ClientBody, "the request's body did not arrive in time")
}

fn broken(error: &ClientBodyError) -> Error {
    Error::new(Flag::ClientBody, "the request's body broke off").with_detail(error.to_string())
}
