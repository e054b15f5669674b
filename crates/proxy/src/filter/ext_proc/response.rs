//! A response on its way back past the processors.

use std::{future::poll_fn, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use pailou_envoy_proto::ext_proc::{CommonResponse, HeaderMutation};
use pailou_extproc::{
    Direction,
    processor::{
        Answer, BodyMode, Ending, Lane, Observer, Refusal, Reply,
        change::{self, InvalidChange},
        message::{self, Envelope},
        passage::{self, PassageError},
    },
};
use tokio::{sync::oneshot, time::Instant};

use super::{Processing, Processor, RequestMetadata, Stream, replaces};
use crate::{
    backend_body::ResponseBodyError,
    context::Share,
    error::{Audience, Error, Flag},
    request_input::Bounds,
    response_body::{Processed, ResponseBody, Source},
    runtime::Runtime,
    worker::Connection,
};

/// Passes a response by the processors, the last first. The first that refuses it is the last that sees it, as in Envoy.
pub(in crate::filter) async fn response(
    processing: Processing,
    connection: &Arc<Connection>,
    audience: Audience,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    let Processing { runtime, bounds, list, mut metadata, .. } = processing;
    for mut processor in list.into_iter().rev() {
        let passing =
            Passing { processor: &mut processor, runtime: &runtime, connection, bounds: &bounds, metadata: &mut metadata };
        match passing.run(response).await {
            Ok(passed) => response = passed,
            Err(error) => return error.response(audience),
        }
    }
    response
}

/// A response, and the processor that it passes.
struct Passing<'p> {
    processor: &'p mut Processor,
    runtime: &'p Runtime,
    connection: &'p Arc<Connection>,
    bounds: &'p Bounds,
    metadata: &'p mut RequestMetadata,
}

/// A response that a processor has begun with.
type Passed = Result<Response<ResponseBody>, Error>;

impl Passing<'_> {
    async fn run(mut self, response: Response<ResponseBody>) -> Passed {
        let modes = self.processor.modes.response;
        let is_open = match &self.processor.stream {
            Stream::Over => false,
            Stream::Unopened => modes.headers,
            Stream::Open(_) => modes.headers || modes.body != BodyMode::None,
        };
        if !is_open {
            return Ok(response);
        }
        let has_body = !response.body().is_end_stream();
        let Some(mut lane) = self.begin(&response, has_body) else { return Ok(response) };
        if self.processor.settings.shadow_mode {
            return Ok(self.observed(&lane, response));
        }
        let is_duplex = modes.body == BodyMode::FullDuplexStreamed;
        if is_duplex && has_body && modes.headers {
            return self.full_duplex(lane, response).await;
        }
        let response = if modes.headers {
            let due = (!is_duplex).then(|| Instant::now() + self.processor.settings.message_timeout);
            match lane.reply(due).await {
                Ok(reply) => match self.headers(reply, response)? {
                    (answer, response) if replaces(&answer) => return self.replaced(answer, response),
                    (_, response) => response,
                },
                Err(ending) => return self.ended(ending, response),
            }
        } else {
            response
        };
        match self.processor.modes.response.body {
            _ if !has_body => Ok(response),
            BodyMode::None => Ok(response),
            BodyMode::Buffered => self.buffered(lane, response, true).await,
            BodyMode::BufferedPartial => self.buffered(lane, response, false).await,
            BodyMode::Streamed => Ok(self.streamed(lane, response)),
            BodyMode::FullDuplexStreamed => {
                let reason = "its mode_override is FullDuplexStreamed, after the headers were sent in another mode";
                Err(self.refuse(reason, response))
            }
        }
    }

    /// Sends the headers, unless the processor does not want them.
    fn begin(&mut self, response: &Response<ResponseBody>, has_body: bool) -> Option<Lane> {
        let Self { processor, metadata, .. } = self;
        let is_first = matches!(processor.stream, Stream::Unopened);
        let first = processor.modes.response.headers.then(|| {
            let envelope = Envelope {
                attributes: processor.attributes.of_response(response.status()),
                metadata: processor.metadata(metadata),
                modes: is_first.then_some(processor.modes),
                is_observed: processor.settings.shadow_mode,
            };
            message::response_headers(response.status(), response.headers(), !has_body, envelope)
        });
        match &mut processor.stream {
            Stream::Over => None,
            Stream::Open(open) => {
                let lane = open.response.take()?;
                if processor.settings.shadow_mode {
                    lane.session().show(first);
                } else {
                    lane.send(first);
                }
                Some(lane)
            }
            Stream::Unopened => {
                drop(processor.open(first?, self.runtime, self.connection, self.bounds));
                let Stream::Open(open) = &mut processor.stream else { return None };
                open.response.take()
            }
        }
    }

    /// Shows the body, and waits for nothing.
    fn observed(&self, lane: &Lane, response: Response<ResponseBody>) -> Response<ResponseBody> {
        if self.processor.modes.response.body == BodyMode::None || response.body().is_end_stream() {
            return response;
        }
        let observer = Observer::new(Arc::clone(lane.session()), Direction::Response, self.processor.metadata(self.metadata));
        response.map(|inner| ResponseBody::processed(Processed::new(inner, |source, sink| observer.watch(source, sink))))
    }

    /// Takes the answer to the headers.
    fn headers(
        &mut self,
        reply: Reply,
        mut response: Response<ResponseBody>,
    ) -> Result<(CommonResponse, Response<ResponseBody>), Error> {
        let Answer::Headers(answer) = reply.answer else {
            return Err(self.refuse("it answered something that it was not sent", response));
        };
        self.processor.take(reply.mode, reply.metadata, self.metadata);
        match change_head(&mut response, answer.header_mutation.as_ref()) {
            Ok(()) => Ok((answer, response)),
            Err(error) => Err(self.refuse(error, response)),
        }
    }

    fn replaced(&mut self, answer: CommonResponse, response: Response<ResponseBody>) -> Passed {
        let Some(mutation) = answer.body_mutation else { return Ok(response) };
        match change::piece(Bytes::new(), Some(mutation)) {
            Ok(body) => Ok(with_body(response, body, None)),
            Err(error) => Err(self.refuse(error, response)),
        }
    }

    /// Sends the body as one. One that is too long is refused, or else its rest goes on without the processor.
    async fn buffered(&mut self, mut lane: Lane, response: Response<ResponseBody>, is_whole: bool) -> Passed {
        let (mut parts, mut body) = response.into_parts();
        let mut share = Share::new(self.connection.worker.context.clone());
        let (first, trailers, is_all) = match begin_of(&mut body, self.bounds.bytes, &mut share).await {
            Ok(read) => read,
            Err(error) => {
                body.fail(&error);
                return Err(error);
            }
        };
        if is_whole && !is_all {
            let limit = self.bounds.bytes;
            let error = Error::new(Flag::ExtProc, "the response is too long");
            let error = error.with_detail(format!("it is longer than the {limit} bytes that a processor gets as one"));
            body.fail(&error);
            return Err(error);
        }
        let ends = is_all && trailers.is_none();
        lane.send(message::body(Direction::Response, &first, ends, self.processor.metadata(self.metadata).as_ref()));
        let due = Instant::now() + self.processor.settings.message_timeout;
        let changed = match lane.reply(Some(due)).await {
            Ok(reply) => {
                let mut head = Response::from_parts(parts, ());
                let changed = self.answered(reply, &mut head, &first);
                (parts, _) = head.into_parts();
                changed
            }
            Err(ending) => self.processor.ended(ending).map(|()| None),
        };
        let changed = match changed {
            Ok(changed) => changed,
            Err(error) => {
                body.fail(&error);
                return Err(error);
            }
        };
        let first = match changed {
            Some(changed) => {
                parts.headers.remove(header::CONTENT_LENGTH);
                changed
            }
            None => first,
        };
        let response = Response::from_parts(parts, body);
        Ok(if is_all { with_body(response, first, trailers) } else { continued(response, first, share) })
    }

    fn answered(&mut self, reply: Reply, head: &mut Response<()>, body: &Bytes) -> Result<Option<Bytes>, Error> {
        let Answer::Body(answer) = reply.answer else {
            return Err(self.processor.invalid("it answered something that it was not sent"));
        };
        self.processor.write(reply.metadata, self.metadata);
        change_head(head, answer.header_mutation.as_ref()).map_err(|error| self.processor.invalid(error))?;
        let Some(mutation) = answer.body_mutation else { return Ok(None) };
        change::piece(body.clone(), Some(mutation)).map(Some).map_err(|error| self.processor.invalid(error))
    }

    /// Sends the body in pieces.
    fn streamed(&mut self, lane: Lane, response: Response<ResponseBody>) -> Response<ResponseBody> {
        let metadata = self.processor.metadata(self.metadata);
        let settings = self.processor.passage(self.processor.modes.response, metadata);
        without_length(response).map(|inner| {
            ResponseBody::processed(Processed::new(inner, |mut source, sink| async move {
                let passed = passage::streamed(lane, &mut source, sink, settings).await;
                given_up(source, passed)
            }))
        })
    }

    /// Sends the body in pieces while another comes back. The answer to the headers may come after much of it.
    async fn full_duplex(&mut self, lane: Lane, response: Response<ResponseBody>) -> Passed {
        let metadata = self.processor.metadata(self.metadata);
        let settings = self.processor.passage(self.processor.modes.response, metadata);
        let (answered, mut answer) = oneshot::channel();
        let session = Arc::clone(lane.session());
        let status = response.status();
        let (parts, inner) = without_length(response).into_parts();
        let mut body = Processed::new(inner, |mut source, sink| async move {
            let passed = passage::full_duplex(lane, &mut source, sink, settings, answered).await;
            if passed.is_ok() {
                // The server may end the body before the backend does.
                source.discard(status);
                return Ok(());
            }
            given_up(source, passed)
        });
        let reply = poll_fn(|context| {
            body.poll_work(context);
            Pin::new(&mut answer).poll(context)
        });
        match reply.await {
            Ok(reply) => {
                let (answer, response) = self.headers(reply, Response::from_parts(parts, ResponseBody::processed(body)))?;
                if replaces(&answer) { self.replaced(answer, response) } else { Ok(response) }
            }
            Err(_) => match session.ending() {
                Some(Ending::Refused(refusal)) => Err(self.processor.error(refusal)),
                _ => Ok(Response::from_parts(parts, ResponseBody::processed(body))),
            },
        }
    }

    /// Ends the processor's part.
    fn ended(&mut self, ending: Ending, response: Response<ResponseBody>) -> Passed {
        match self.processor.ended(ending) {
            Ok(()) => Ok(response),
            Err(error) => {
                response.into_body().fail(&error);
                Err(error)
            }
        }
    }

    fn refuse(&mut self, reason: impl ToString, response: Response<ResponseBody>) -> Error {
        let error = self.processor.invalid(reason);
        response.into_body().fail(&error);
        error
    }
}

/// Ends a body as its passage has. What is left of one that does not pass is given up with the reason.
fn given_up(source: Source, passed: Result<(), PassageError<ResponseBodyError>>) -> Result<(), ResponseBodyError> {
    let reason = match passed {
        Ok(()) => return Ok(()),
        Err(PassageError::Source(error)) => return Err(error),
        Err(PassageError::Refused(Refusal::Reply(reply))) => {
            format!("an external processor answered {}: {}", reply.status, reply.details)
        }
        Err(PassageError::Refused(Refusal::Late)) => "an external processor did not answer in time".to_owned(),
        Err(PassageError::Refused(Refusal::Failed(reason))) => format!("an external processor: {reason}"),
    };
    source.fail(&Error::new(Flag::ExtProc, "an external processor ended the response").with_detail(reason.clone()));
    Err(ResponseBodyError::Processor(reason))
}

fn change_head<B>(response: &mut Response<B>, mutation: Option<&HeaderMutation>) -> Result<(), InvalidChange> {
    let Some(mutation) = mutation else { return Ok(()) };
    let status = change::status(mutation)?;
    change::headers(mutation, response.headers_mut())?;
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    Ok(())
}

fn without_length(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// A response with another body. What is left of its own is given up.
fn with_body(response: Response<ResponseBody>, body: Bytes, trailers: Option<HeaderMap>) -> Response<ResponseBody> {
    let (mut parts, own) = response.into_parts();
    own.discard(parts.status);
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = match trailers {
        None => ResponseBody::whole(body),
        Some(trailers) => ResponseBody::processed(Processed::new(ResponseBody::empty(), |_, sink| async move {
            if !body.is_empty() && sink.send(Frame::data(body)).await.is_err() {
                return Ok(());
            }
            let _ = sink.send(Frame::trailers(trailers)).await;
            Ok(())
        })),
    };
    Response::from_parts(parts, body)
}

/// A response with another beginning of its body.
fn continued(response: Response<ResponseBody>, first: Bytes, share: Share) -> Response<ResponseBody> {
    without_length(response).map(|inner| {
        ResponseBody::processed(Processed::new(inner, |mut source, sink| async move {
            if !first.is_empty() && sink.send(Frame::data(first)).await.is_err() {
                return Ok(());
            }
            drop(share);
            while let Some(frame) = source.frame().await {
                if sink.send(frame?).await.is_err() {
                    break;
                }
            }
            Ok(())
        }))
    })
}

/// A body's first bytes, until there are more than `limit`, its trailers if they have come, and whether that is all.
async fn begin_of(source: &mut ResponseBody, limit: u64, share: &mut Share) -> Result<(Bytes, Option<HeaderMap>, bool), Error> {
    let mut first = BytesMut::new();
    while let Some(frame) = source.frame().await {
        let frame = frame.map_err(|error| {
            Error::new(Flag::UpstreamReset, "the backend broke off its response").with_detail(error.to_string())
        })?;
        match frame.into_data() {
            Ok(data) => {
                first.extend_from_slice(&data);
                share.grow_to(first.len() as u64)?;
                if first.len() as u64 > limit {
                    return Ok((first.freeze(), None, false));
                }
            }
            Err(frame) => return Ok((first.freeze(), frame.into_trailers().ok(), true)),
        }
    }
    Ok((first.freeze(), None, true))
}
