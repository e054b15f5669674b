//! A response on its way past a picker that listens.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream as _;
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame};
use pailou_envoy_proto::{
    LocalReply,
    core::{self, Metadata},
    ext_proc::{
        BodySendMode, HeaderMutation, HttpHeaders, HttpTrailers, ProcessingRequest, ProcessingResponse,
        processing_request::Request, processing_response::Response,
    },
    frame,
    header_mutation::apply,
    structs,
};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{conversation::Listener, echo::Echo, framing, request::header_values};
use crate::{
    Direction, Room,
    chunks::chunks_to_end,
    names::{ENDPOINT_NAMESPACE, SERVED},
};

/// Most bytes of a response that a picker may hold back. The backend waits beyond that.
const MAX_PENDING: usize = 4 << 20;
/// Bytes of it for which there is always room.
const LEAST_PENDING: usize = 64 << 10;
/// Time for the picker to answer while nothing else holds the response back.
const PICKER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the picker to answer the response's head while the body goes on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Frames that may wait for the head of their response.
const MAX_READY: usize = 64;

/// A response that a picker observes, and may change. The proxy lets go of a picker that goes away or does not answer in time:
/// the pieces it held go on as they were, unless it had begun to change the body.
pub struct Processed<B: Body> {
    source: B,
    /// The backend has said all.
    drained: bool,
    failure: Option<B::Error>,
    trailers: Option<HeaderMap>,
    /// The picker, until it has nothing more to say.
    listener: Option<Listener>,
    head_answered: bool,
    head: HeaderMutation,
    echo: Echo,
    /// Frames for the client.
    ready: VecDeque<Frame<Bytes>>,
    end: Option<End>,
    begun: Instant,
    /// When something last came, of either.
    moved: Instant,
    timeout: Option<Pin<Box<Sleep>>>,
    room: Box<dyn Room>,
    /// There is room for what waits.
    has_room: bool,
}

/// The head of a backend's answer, for a picker.
#[derive(Debug)]
pub struct Backend<'a> {
    /// The response's status.
    pub status: StatusCode,
    /// The response's headers.
    pub headers: &'a HeaderMap,
    /// The endpoint that answered.
    pub served: &'a str,
}

/// Why a response ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum ProcessedError<E> {
    /// The backend broke off.
    #[error(transparent)]
    Backend(E),
    /// The picker evicted the request.
    #[error("the endpoint picker evicted the request ({})", .0.status)]
    Evicted(LocalReply),
    /// The picker broke off while it changed the body.
    #[error("the endpoint picker broke off while it changed the response's body")]
    BrokeOff,
}

/// A frame of the response's body, or why there is none any more.
pub type NextFrame<E> = Result<Frame<Bytes>, ProcessedError<E>>;

enum End {
    Evicted(LocalReply),
    BrokeOff,
}

impl<B: Body<Data = Bytes> + Unpin> Processed<B> {
    /// Tells the picker of a response. What it holds back takes room of `room`; without room it holds 64 KiB, and the backend waits.
    pub fn new(listener: Listener, backend: &Backend<'_>, source: B, room: Box<dyn Room>) -> Self {
        let (now, drained) = (Instant::now(), source.is_end_stream());
        let mut processed = Self {
            source,
            drained,
            failure: None,
            trailers: None,
            listener: Some(listener),
            head_answered: false,
            head: HeaderMutation::default(),
            echo: Echo::new(),
            ready: VecDeque::new(),
            end: None,
            begun: now,
            moved: now,
            timeout: None,
            room,
            has_room: true,
        };
        processed.send_frames([frame::encode(&head(backend, drained))]);
        processed
    }

    /// Waits for the picker's changes of the response's headers, and applies them. If the picker may change the body, its
    /// length is unknown: `content-length` goes.
    ///
    /// # Errors
    /// The client gets this answer instead.
    pub async fn head(&mut self, headers: &mut HeaderMap) -> Result<(), LocalReply> {
        if !self.drained && self.listener.as_ref().is_some_and(|listener| listener.wants_body) {
            headers.remove(CONTENT_LENGTH);
        }
        poll_fn(|context| self.poll_head(context)).await?;
        apply(&std::mem::take(&mut self.head), headers);
        Ok(())
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LocalReply>> {
        loop {
            if let Some(End::Evicted(reply)) = &self.end {
                return Poll::Ready(Err(reply.clone()));
            }
            if self.head_answered || self.listener.is_none() {
                return Poll::Ready(Ok(()));
            }
            if !self.drive(context) {
                return Poll::Pending;
            }
        }
    }

    /// The next frame of the response's body.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<NextFrame<B::Error>>> {
        loop {
            // An eviction cuts off what was still to come.
            if let Some(End::Evicted(reply)) = &self.end {
                return Poll::Ready(Some(Err(ProcessedError::Evicted(reply.clone()))));
            }
            if let Some(frame) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.end.is_some() {
                return Poll::Ready(Some(Err(ProcessedError::BrokeOff)));
            }
            if self.listener.is_none() {
                self.room.hold(0);
                return self.pass(context);
            }
            if !self.drive(context) {
                return Poll::Pending;
            }
        }
    }

    /// Whether there is nothing more to come.
    pub fn is_end_stream(&self) -> bool {
        let is_over = self.drained || self.source.is_end_stream();
        is_over && self.listener.is_none() && self.ready.is_empty() && self.end.is_none() && self.failure.is_none()
    }

    /// Without a picker any more.
    fn pass(&mut self, context: &mut Context<'_>) -> Poll<Option<NextFrame<B::Error>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(ProcessedError::Backend(failure))));
        }
        if self.drained {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut self.source).poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map_err(ProcessedError::Backend)))
    }

    /// Hears and reads what there is; whether there was anything.
    fn drive(&mut self, context: &mut Context<'_>) -> bool {
        let heard = self.listen(context);
        let read = self.read(context);
        if heard || read {
            self.moved = Instant::now();
            self.conclude();
            let waiting = self.waiting();
            self.has_room = self.room.hold(waiting);
            return true;
        }
        self.poll_timeout(context)
    }

    /// Takes a message of the picker's.
    fn listen(&mut self, context: &mut Context<'_>) -> bool {
        let Some(listener) = &mut self.listener else { return false };
        match Pin::new(&mut listener.replies).poll_next(context) {
            Poll::Ready(Some(Ok(reply))) => self.receive(reply),
            Poll::Ready(Some(Err(_)) | None) => self.let_go(),
            Poll::Pending => return false,
        }
        true
    }

    fn receive(&mut self, reply: ProcessingResponse) {
        match reply.response {
            Some(Response::ImmediateResponse(response)) => {
                (self.end, self.listener) = (Some(End::Evicted(response.into())), None);
            }
            Some(Response::ResponseHeaders(answer)) => {
                self.head = answer.response.and_then(|answer| answer.header_mutation).unwrap_or_default();
                self.head_answered = true;
            }
            Some(Response::ResponseBody(answer)) => {
                let piece = self.echo.back(answer.response.and_then(|answer| answer.body_mutation));
                if !piece.is_empty() {
                    self.ready.push_back(Frame::data(piece));
                }
            }
            Some(Response::ResponseTrailers(answer)) => {
                if let Some(trailers) = &mut self.trailers {
                    apply(&answer.header_mutation.unwrap_or_default(), trailers);
                    // They come after all of the body.
                    self.echo.trailers();
                    self.let_go();
                }
            }
            // Late words on the request.
            _ => {}
        }
        if reply.mode_override.is_some_and(|mode| mode.response_body_mode == BodySendMode::None as i32) {
            // It wants no more than the headers; what it was sent of the body is not answered.
            match &mut self.listener {
                Some(listener) if !self.head_answered => listener.wants_body = false,
                _ => self.let_go(),
            }
        }
    }

    /// Reads on from the backend, as long as the picker keeps up.
    fn read(&mut self, context: &mut Context<'_>) -> bool {
        let Some(listener) = &self.listener else { return false };
        // A body that is not wanted stays where it is until the head is answered.
        if self.drained || self.is_full() || !listener.wants_body {
            return false;
        }
        let Poll::Ready(frame) = Pin::new(&mut self.source).poll_frame(context) else { return false };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.send(&data),
                Err(frame) => self.ended(frame.into_trailers().ok()),
            },
            Some(Err(error)) => {
                (self.failure, self.drained) = (Some(error), true);
                self.let_go();
            }
            None => self.ended(None),
        }
        true
    }

    fn send(&mut self, data: &Bytes) {
        let is_last = self.source.is_end_stream();
        for (piece, last) in chunks_to_end(data, is_last) {
            self.drained |= last;
            if self.listener.is_none() {
                // The picker went away at a piece before.
                if self.end.is_none() {
                    self.ready.push_back(Frame::data(piece));
                }
                continue;
            }
            self.echo.sent(piece.clone());
            self.send_frames(framing::piece(Direction::Response, &piece, last));
        }
    }

    /// The backend has ended the body after its last piece.
    fn ended(&mut self, trailers: Option<HeaderMap>) {
        self.drained = true;
        let Some(trailers) = trailers else {
            self.echo.sent(Bytes::new());
            return self.send_frames(framing::piece(Direction::Response, &Bytes::new(), true));
        };
        let headers = header_values(&trailers).collect();
        let message = Request::ResponseTrailers(HttpTrailers { trailers: Some(core::HeaderMap { headers }) });
        self.trailers = Some(trailers);
        self.send_frames([frame::encode(&ProcessingRequest { request: Some(message), ..ProcessingRequest::default() })]);
    }

    fn send_frames<const N: usize>(&mut self, frames: [Bytes; N]) {
        if self.listener.as_ref().is_some_and(|listener| !listener.sender.write(frames)) {
            self.let_go();
        }
    }

    /// Ends the conversation once neither side has more to send.
    fn conclude(&mut self) {
        let Some(listener) = &self.listener else { return };
        if self.echo.is_complete() {
            // The picker's is the whole body, whatever the backend still has to say.
            (self.drained, self.failure) = (true, None);
            self.let_go();
        } else if self.head_answered && (!listener.wants_body || (self.drained && self.echo.is_settled())) {
            self.let_go();
        }
    }

    /// Goes on without the picker: with what it holds, as it was, unless it has begun to change it.
    fn let_go(&mut self) {
        self.listener = None;
        match self.echo.rest() {
            Some(rest) => self.ready.extend(rest.into_iter().filter(|piece| !piece.is_empty()).map(Frame::data)),
            None => self.end = Some(End::BrokeOff),
        }
        self.ready.extend(self.trailers.take().map(Frame::trailers));
    }

    fn is_full(&self) -> bool {
        let most = if self.has_room { MAX_PENDING } else { LEAST_PENDING };
        self.echo.bytes() > most || self.ready.len() > MAX_READY
    }

    /// Bytes of the body that wait: those that have not come back, which the outbox shares, and those for the client.
    fn waiting(&self) -> u64 {
        let ready: usize = self.ready.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
        (self.echo.bytes() + ready) as u64
    }

    fn poll_timeout(&mut self, context: &mut Context<'_>) -> bool {
        let due = if self.drained || self.is_full() {
            self.moved + PICKER_TIMEOUT
        } else if !self.head_answered {
            self.begun + HEAD_TIMEOUT
        } else {
            return false;
        };
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timeout.deadline() != due {
            timeout.as_mut().reset(due);
        }
        let is_over = timeout.as_mut().poll(context).is_ready();
        if is_over {
            self.let_go();
        }
        is_over
    }
}

fn head(backend: &Backend<'_>, end_of_stream: bool) -> ProcessingRequest {
    let status = core::HeaderValue::new(":status", Bytes::copy_from_slice(backend.status.as_str().as_bytes()));
    let headers = [status].into_iter().chain(header_values(backend.headers)).collect();
    let head = HttpHeaders { headers: Some(core::HeaderMap { headers }), end_of_stream };
    let served = structs::structure(SERVED, structs::string(backend.served));
    ProcessingRequest {
        request: Some(Request::ResponseHeaders(head)),
        metadata_context: Some(Metadata { filter_metadata: HashMap::from([(ENDPOINT_NAMESPACE.to_owned(), served)]) }),
        ..ProcessingRequest::default()
    }
}
