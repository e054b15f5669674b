//! External processing (EnvoyExtensionPolicy `extProc`): servers see a request and its response, and may change them or answer
//! the client themselves. Each has one stream for both, which ends with the request.
//!
//! Requests pass the processors in the policy's order, responses in the reverse order, those that the gateway makes itself among
//! them. A processor that answers a client or fails is through with the request.

mod attributes;
mod open;
mod request;
mod response;

use std::{collections::HashMap, future::poll_fn, sync::Arc, task::Poll};

use http::StatusCode;
use pailou_envoy_proto::{
    core::Metadata,
    ext_proc::{CommonResponse, ProcessingMode},
    structs::{Kind, Struct},
};
use pailou_extproc::processor::{BodyMode, DirectionModes, Ending, Lane, Modes, Refusal, Session, passage};
use pailou_snapshot::{BodyProcessing, ExtProc, ProcessedParts, RouteName};

use super::Stage;
use crate::{
    error::{Error, Flag},
    request_head::Head,
    request_input::{Bounds, RequestInput},
    runtime::Runtime,
    worker::Connection,
};

pub(super) use response::response;

/// The processors of a request's rule, and their state.
pub(super) struct Processing {
    runtime: Arc<Runtime>,
    bounds: Bounds,
    list: Vec<Processor>,
    metadata: RequestMetadata,
    /// A processor has the route chosen anew.
    clears_route: bool,
}

/// Metadata that processors write for each other, by namespace.
type RequestMetadata = HashMap<String, Struct>;

/// One processor's part.
struct Processor {
    settings: Arc<ExtProc>,
    modes: Modes,
    attributes: attributes::Attributes,
    stream: Stream,
}

/// A processor's stream.
enum Stream {
    /// It has been sent nothing.
    Unopened,
    Open(Open),
    /// It is through with the request.
    Over,
}

/// A stream that has begun. A lane is gone once a body has it.
struct Open {
    session: Arc<Session>,
    response: Option<Lane>,
    /// The request's body is on its way past the processor.
    has_request_body: bool,
}

impl Processing {
    /// The state of a request's processors, before there are any.
    pub(super) fn new(stage: &Stage<'_>) -> Self {
        Self {
            runtime: Arc::clone(stage.runtime),
            bounds: stage.bounds,
            list: Vec::new(),
            metadata: HashMap::new(),
            clears_route: false,
        }
    }

    /// Adds the processors of a rule, as a request comes to the rule's filters. A request that comes to a further rule passes none again.
    pub(super) fn enter<'f>(
        &mut self,
        processors: impl Iterator<Item = &'f Arc<ExtProc>>,
        head: &Head,
        connection: &Connection,
        route: &RouteName,
    ) {
        for settings in processors {
            if self.list.iter().all(|known| known.settings.name != settings.name) {
                self.list.push(Processor {
                    settings: Arc::clone(settings),
                    modes: modes(settings),
                    attributes: attributes::Attributes::of(settings, head, connection, route),
                    stream: Stream::Unopened,
                });
            }
        }
    }

    /// Passes a request by the processor with these settings.
    ///
    /// # Errors
    /// The processor's answer, or that it failed.
    pub(super) async fn request(
        &mut self,
        settings: &Arc<ExtProc>,
        stage: &Stage<'_>,
        head: &mut Head,
        input: RequestInput,
    ) -> Result<RequestInput, Error> {
        let Self { list, metadata, clears_route, .. } = self;
        let Some(processor) = list.iter_mut().find(|it| Arc::ptr_eq(&it.settings, settings)) else { return Ok(input) };
        request::Passing { processor, stage, head, metadata, clears_route }.run(input).await
    }

    /// Whether the route is to be chosen anew; once for each time that a processor wants it.
    pub(super) fn takes_route(&mut self) -> bool {
        std::mem::take(&mut self.clears_route)
    }

    /// Whether a request's body is on its way past a processor, which may yet refuse the request.
    pub(super) fn has_request_body(&self) -> bool {
        self.list.iter().any(|it| matches!(&it.stream, Stream::Open(open) if open.has_request_body))
    }

    /// The refusal of the processor that ended the request, if one has.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.list.iter().find_map(|it| match &it.stream {
            Stream::Open(open) => match open.session.ending()? {
                Ending::Refused(refusal) => Some(it.error(refusal)),
                Ending::LetGo => None,
            },
            Stream::Unopened | Stream::Over => None,
        })
    }

    /// Waits for the first refusal of a processor that a request's body is on its way past.
    pub(super) async fn refused(&self) -> Error {
        let waiting = self.list.iter().filter_map(|it| match &it.stream {
            Stream::Open(open) if open.has_request_body => Some(async move { it.error(open.session.refused().await) }),
            _ => None,
        });
        let mut waiting: Vec<_> = waiting.map(Box::pin).collect();
        poll_fn(|context| {
            let refused = waiting.iter_mut().find_map(|it| match it.as_mut().poll(context) {
                Poll::Ready(error) => Some(error),
                Poll::Pending => None,
            });
            refused.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Processor {
    /// Ends the processor's part.
    ///
    /// # Errors
    /// It refuses the request, or failed and requests do not pass without it.
    fn ended(&mut self, ending: Ending) -> Result<(), Error> {
        self.stream = Stream::Over;
        match ending {
            Ending::LetGo => Ok(()),
            Ending::Refused(refusal) => Err(self.error(refusal)),
        }
    }

    /// The error of a refusal, for the client.
    fn error(&self, refusal: Refusal) -> Error {
        let server = self.settings.authority.to_str().unwrap_or_default();
        let failed = |status: StatusCode, detail: String| {
            let error = Error::new(Flag::ExtProc, "this request cannot be processed; try again");
            Error { status, ..error.with_detail(format!("the external processor {server}: {detail}")) }
        };
        match refusal {
            Refusal::Reply(reply) => Error::processed(reply, &server),
            // In spite of `statusOnError`, as in Envoy.
            Refusal::Late => {
                let detail = format!("it did not answer within {} ms", self.settings.message_timeout.as_millis());
                failed(StatusCode::GATEWAY_TIMEOUT, detail)
            }
            Refusal::Failed(detail) => failed(self.settings.status_on_error, detail.to_string()),
        }
    }

    /// The error of an answer that cannot be followed: it fails the request even where that may pass without the processor, as in Envoy.
    fn invalid(&mut self, reason: impl ToString) -> Error {
        self.stream = Stream::Over;
        self.error(Refusal::Failed(reason.to_string().into()))
    }

    /// Takes what an answer says beside its part.
    fn take(&mut self, mode: Option<ProcessingMode>, written: Option<Struct>, metadata: &mut RequestMetadata) {
        if let Some(mode) = mode.filter(|_| self.settings.allow_mode_override) {
            self.modes = Modes::overridden(&mode);
        }
        self.write(written, metadata);
    }

    /// Takes metadata that it may write.
    fn write(&self, written: Option<Struct>, metadata: &mut RequestMetadata) {
        for (namespace, value) in written.map(|written| written.fields).unwrap_or_default() {
            if let Some(Kind::StructValue(fields)) = value.kind
                && self.settings.writable_namespaces.iter().any(|it| **it == *namespace)
            {
                metadata.entry(namespace).or_default().fields.extend(fields.fields);
            }
        }
    }

    /// Metadata that it gets.
    fn metadata(&self, metadata: &RequestMetadata) -> Option<Metadata> {
        let found =
            self.settings.accessible_namespaces.iter().filter_map(|name| Some((name.to_string(), metadata.get(&**name)?.clone())));
        let filter_metadata: HashMap<_, _> = found.collect();
        (!filter_metadata.is_empty()).then_some(Metadata { filter_metadata })
    }

    fn passage(&self, modes: DirectionModes, metadata: Option<Metadata>) -> passage::Settings {
        passage::Settings { timeout: self.settings.message_timeout, trailers: modes.trailers, metadata }
    }
}

/// Whether an answer takes the place of the whole message.
fn replaces(answer: &CommonResponse) -> bool {
    answer.status() == pailou_envoy_proto::ext_proc::ResponseStatus::ContinueAndReplace
}

fn modes(settings: &ExtProc) -> Modes {
    Modes { request: direction(settings.request.as_ref()), response: direction(settings.response.as_ref()) }
}

/// Trailers are sent where the body goes both ways, as Envoy Gateway has it.
fn direction(parts: Option<&ProcessedParts>) -> DirectionModes {
    let Some(parts) = parts else { return DirectionModes::default() };
    let body = match parts.body {
        BodyProcessing::None => BodyMode::None,
        BodyProcessing::Streamed => BodyMode::Streamed,
        BodyProcessing::Buffered => BodyMode::Buffered,
        BodyProcessing::BufferedPartial => BodyMode::BufferedPartial,
        BodyProcessing::FullDuplexStreamed => BodyMode::FullDuplexStreamed,
    };
    DirectionModes { headers: true, body, trailers: body == BodyMode::FullDuplexStreamed }
}
