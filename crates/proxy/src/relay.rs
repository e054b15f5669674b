//! A backend's response on its way to the client: every chunk passed on as it comes, read as it passes, and settled at its end.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pailou_ai::{Dialect, ErrorBody, usage::ResponseReader};
use pailou_picker::Picked;
use tokio::time::Instant;

use crate::{
    backend_body::{BackendBody, ResponseBodyError},
    error::{EVICTED, Error, Flag},
    guards::Guards,
    idle::{Idle, Pulse},
    request_log::RequestLog,
    response_edit::ResponseEdit,
    timer::Timer,
};

const BROKE_OFF: &str = "the model server broke off the response";

/// A frame of a response's body, as far as it is there.
type PolledFrame = Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>>;

/// A response under way.
pub(crate) struct Relay {
    body: BackendBody,
    record: Box<RequestLog>,
    /// Held until the response has ended, however it ends.
    guards: Option<Guards>,
    reader: Option<Box<Reader>>,
    /// Changes to the body, which come after the reader.
    edit: Option<Box<ResponseEdit>>,
    /// Trailers that wait for what the changes hold to go out.
    trailers: Option<Frame<Bytes>>,
    deadline: Option<Deadline>,
    idle: Option<Idle>,
    state: State,
}

/// Readers that follow the body.
pub(crate) struct Reader {
    pub(crate) reader: ResponseReader,
    /// Dialect of a model call; `None` where only usage is read.
    pub(crate) dialect: Option<Dialect>,
    /// Its end is the connection's end: nothing but the dialect's own last word tells whether it is whole.
    pub(crate) until_close: bool,
}

/// The response's clocks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Clocks {
    /// When the whole must be through.
    pub(crate) deadline: Option<Instant>,
    /// When even a connection that was switched to another protocol must be through.
    pub(crate) stream_deadline: Option<Instant>,
    /// How long no byte may move, in either direction.
    pub(crate) idle: Option<Duration>,
}

enum State {
    Flowing,
    /// The client has been told, and is let go: after a pause in which the telling is sent, the connection is broken.
    Pausing(ResponseBodyError),
    Breaking(ResponseBodyError),
    Ended,
}

impl Relay {
    pub(crate) fn new(
        body: BackendBody,
        record: Box<RequestLog>,
        guards: Guards,
        reader: Option<Box<Reader>>,
        clocks: Clocks,
    ) -> Self {
        let deadline = clocks.deadline.map(|at| Deadline { at, timer: None });
        let idle = clocks.idle.map(|limit| Idle::new(limit, guards.pulse().cloned()));
        Self { body, record, guards: Some(guards), reader, edit: None, trailers: None, deadline, idle, state: State::Flowing }
    }

    /// The same with changes to its body.
    pub(crate) fn editing(mut self, edit: Option<Box<ResponseEdit>>) -> Self {
        self.edit = edit;
        self
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Flowing => self.state = State::Flowing,
            State::Pausing(error) => {
                // The event was handed over at the last poll; an error at once would close the connection before it is written.
                self.state = State::Breaking(error);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            State::Breaking(error) => return Poll::Ready(Some(Err(error))),
            State::Ended => return Poll::Ready(None),
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(trailers)));
        }
        loop {
            let polled = self.body.poll_frame(context);
            if let Some(polled) = self.polled(polled, context) {
                return polled;
            }
        }
    }

    /// Takes what the body yields; `None` where all of it has to wait for the next.
    fn polled(&mut self, polled: PolledFrame, context: &mut Context<'_>) -> Option<PolledFrame> {
        Some(match polled {
            Poll::Ready(Some(Ok(frame))) => {
                let read = match frame.data_ref() {
                    Some(data) => self.passed(data),
                    None => {
                        if let Some(trailers) = frame.trailers_ref() {
                            self.record.keep_trailers(trailers);
                        }
                        self.guards.iter_mut().zip(frame.trailers_ref()).for_each(|(guards, trailers)| guards.trailers(trailers));
                        None
                    }
                };
                // A body of known length is not polled again.
                if self.body.is_end_stream() {
                    self.settle_at(read);
                }
                Poll::Ready(Some(Ok(self.edited(frame)?)))
            }
            Poll::Ready(Some(Err(error @ ResponseBodyError::Picker(_)))) => {
                self.fail(Flag::Picker, "the endpoint picker ended the request", error)
            }
            Poll::Ready(Some(Err(error))) => self.fail(Flag::UpstreamReset, BROKE_OFF, error),
            Poll::Ready(None) if self.cut_short() => self.fail(Flag::UpstreamReset, BROKE_OFF, ResponseBodyError::CutShort),
            Poll::Ready(None) => {
                self.state = State::Ended;
                self.settle();
                let rest = self.edit.as_mut().map(|edit| edit.finish()).filter(|rest| !rest.is_empty());
                Poll::Ready(rest.map(|rest| Ok(Frame::data(rest))))
            }
            Poll::Pending => self.watch(context),
        })
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && matches!(self.state, State::Flowing | State::Ended) && self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.edit.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }

    /// Gives the response up for another with this status.
    pub(crate) fn discard(mut self, status: http::StatusCode) {
        self.record.status = Some(status);
        self.settle();
    }

    /// Gives the response up, as the request fails.
    pub(crate) fn give_up(mut self, error: &Error) {
        self.record.failed(error);
        self.settle();
    }

    /// Bytes that came before are on their way to the client.
    pub(crate) fn beat(&mut self) {
        if let Some(idle) = &mut self.idle {
            idle.beat();
        }
    }

    /// The upload that may still go on beside the response.
    pub(crate) fn upload(&self) -> Option<&Arc<Pulse>> {
        self.guards.as_ref().and_then(Guards::pulse)
    }

    /// The frame, changed; `None` where all of it has to wait for the next.
    fn edited(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let Some(edit) = &mut self.edit else { return Some(frame) };
        let Some(data) = frame.data_ref() else {
            let rest = edit.finish();
            if rest.is_empty() {
                return Some(frame);
            }
            self.trailers = Some(frame);
            return Some(Frame::data(rest));
        };
        let is_last = self.body.is_end_stream();
        let data = edit.feed(data, is_last);
        (!data.is_empty() || is_last).then(|| Frame::data(data))
    }

    /// Reads a part of the body. Gives the time if it was looked at.
    fn passed(&mut self, data: &Bytes) -> Option<std::time::Instant> {
        let record = &mut self.record;
        let is_first = record.response_bytes == 0;
        record.response_bytes += data.len() as u64;
        if let Some(idle) = &mut self.idle {
            idle.beat();
        }
        if let Some(reader) = &mut self.reader {
            let is_whole = is_first && self.body.is_end_stream();
            // Of a whole body no more than the usage is sought, unless a span wants the model and the reason to finish.
            let progress = match (is_whole, record.kept_trace()) {
                (false, _) => reader.reader.feed(data),
                (true, Some(_)) => reader.reader.feed_whole_answer(data),
                (true, None) => reader.reader.feed_whole(data),
            };
            if let Some(content) = record.kept_trace().and_then(|kept| kept.content.as_mut()) {
                content.read_response(data, reader.reader.reads_events());
            }
            record.stream_progress(reader.reader.events_seen());
            if progress.content && record.content_after.is_none() {
                return Some(self.content());
            }
        } else if is_first && !data.is_empty() && record.status.is_some_and(|status| !status.is_server_error()) {
            // Nobody reads it: the prompt has been computed, but nothing says when its first token came.
            self.guards.iter_mut().for_each(|guards| guards.content(false));
        }
        None
    }

    /// The first content has come. Gives the time.
    fn content(&mut self) -> std::time::Instant {
        let now = std::time::Instant::now();
        self.record.content_after = Some(now.saturating_duration_since(self.record.started));
        let is_stream = self.reader.as_ref().is_some_and(|reader| reader.reader.reads_events());
        if let Some(guards) = &mut self.guards {
            guards.content(is_stream);
        }
        now
    }

    /// No byte came. Do the clocks still run?
    fn watch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        if let Some((flag, message, error)) = self.overrun(context) {
            return self.fail(flag, message, error);
        }
        if let Some(idle) = &mut self.idle
            && idle.poll(context).is_ready()
        {
            return self.fail(Flag::StreamIdle, "nothing moved for too long", ResponseBodyError::TimedOut("idle timeout"));
        }
        Poll::Pending
    }

    /// Looks at the clocks while nobody reads, as what came before still waits on its way to the client; gives the error that ends the
    /// body. Idle time is nobody's fault then.
    pub(crate) fn poll_clocks(&mut self, context: &mut Context<'_>) -> Poll<ResponseBodyError> {
        if self.guards.is_none() || !matches!(self.state, State::Flowing) {
            return Poll::Pending;
        }
        let Some((flag, message, error)) = self.overrun(context) else { return Poll::Pending };
        // An event would come amid another: the client has not got all that was read.
        match (self.fail(flag, message, error), std::mem::replace(&mut self.state, State::Ended)) {
            (Poll::Ready(Some(Err(error))), _) | (_, State::Pausing(error)) => Poll::Ready(error),
            _ => Poll::Pending,
        }
    }

    /// Whether the response's time is up, or the gateway's, or a more important request wants its place.
    fn overrun(&mut self, context: &mut Context<'_>) -> Option<(Flag, &'static str, ResponseBodyError)> {
        if self.deadline.as_mut().is_some_and(|deadline| deadline.poll(context).is_ready()) {
            let error = ResponseBodyError::TimedOut("request timeout");
            return Some((Flag::Timeout, "the response took longer than the route allows", error));
        }
        let eviction = self.guards.as_ref().and_then(Guards::picked).and_then(Picked::eviction);
        if eviction.is_some_and(|eviction| eviction.poll_given(context)) {
            return Some((Flag::Shed, EVICTED, ResponseBodyError::Evicted));
        }
        let message = "the gateway stopped before the response was through";
        self.record.is_cut_off().then_some((Flag::Stopped, message, ResponseBodyError::Stopped))
    }

    /// Whether a body that lasts until its connection ends has ended before its stream was through.
    fn cut_short(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.until_close && !reader.reader.progress().may_end())
    }

    /// Ends a response that cannot go on. It must not look whole: a stream gets an event that says so, and the connection is broken.
    fn fail(
        &mut self,
        flag: Flag,
        message: &str,
        error: ResponseBodyError,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        self.record.flag = Some(flag);
        self.record.detail = Some(error.to_string());
        let event = self.reader.as_ref().filter(|reader| reader.reader.reads_events()).and_then(|reader| {
            let body = ErrorBody::new(reader.dialect?, flag.status().as_u16(), message);
            let event = body.to_event(reader.reader.next_sequence_number());
            // Else it would be part of what the backend had begun to say.
            Some(match reader.reader.event_end() {
                "" => event,
                end => [end.as_bytes(), &event].concat().into(),
            })
        });
        self.settle();
        match event {
            Some(event) => {
                self.state = State::Pausing(error);
                Poll::Ready(Some(Ok(Frame::data(event))))
            }
            None => {
                self.state = State::Ended;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn settle(&mut self) {
        self.settle_at(None);
    }

    /// Settles the request, whose end was at this time, if it was looked at.
    fn settle_at(&mut self, end: Option<std::time::Instant>) {
        if let Some(guards) = self.guards.take() {
            if let Some(reader) = &self.reader {
                self.record.usage = reader.reader.usage();
                if let (Some(usage), Some(cached)) = (&mut self.record.usage, self.body.prefill_cached_tokens()) {
                    usage.cached_tokens = Some(cached);
                }
                self.record.content_events = reader.reader.events_seen();
                if let Some(kept) = self.record.kept_trace() {
                    kept.response_model = reader.reader.model().map(Into::into);
                    kept.finish_reason = reader.reader.finish_reason().map(Into::into);
                }
            }
            self.record.note_pick(guards.picked(), false);
            guards.release(&self.record);
            self.record.settle_at(end.unwrap_or_else(std::time::Instant::now));
        }
    }
}

impl Drop for Relay {
    /// The net for responses that nobody reads to their end.
    fn drop(&mut self) {
        if self.guards.is_some() {
            if !self.is_end_stream() {
                self.record.flag = Some(self.record.dropped());
            }
            self.settle();
        }
    }
}

/// A time by which all must be through. Its timer is made when first something is waited for.
struct Deadline {
    at: Instant,
    timer: Option<Timer>,
}

impl Deadline {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.timer.get_or_insert_with(|| Timer::new(self.at)).poll(context)
    }
}
