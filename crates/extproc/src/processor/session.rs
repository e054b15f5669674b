//! One stream to a server, for one request.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::Body;
use pailou_envoy_proto::{
    LocalReply,
    ext_proc::{ImmediateResponse, ProcessingRequest, ProcessingResponse, processing_response::Response as Said},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
    time::sleep,
};
use tonic::{Code, Status, Streaming, codec::Codec};
use tonic_prost::ProstCodec;

use super::lane::{Answer, Lane, Reply};
use crate::{
    Direction,
    client::{SharedOutbox, outbox::Outbox, outbox::OutboxSender},
};

/// Answers that may wait for their lane; the stream waits beyond that.
const MAX_REPLIES: usize = 32;

/// Bytes that may wait for the server beside a body that is sent as one.
const MAX_QUEUED: usize = 4 << 20;

/// Time that a server which only watches has to read what is left once the request is over: Envoy's `deferred_close_timeout`.
const LINGER: Duration = Duration::from_secs(5);

/// A stream to a server. Dropped, which is when the request is over, it ends the stream; a server that only watches reads what is left
/// first.
pub struct Session {
    pub(super) outbox: OutboxSender,
    state: Arc<State>,
    listener: AbortHandle,
}

/// How a session ends before its request does.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The rest of the request goes on without the server.
    LetGo,
    /// The request goes no further.
    Refused(Refusal),
}

/// Why a request goes no further.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The server answers the client itself.
    Reply(LocalReply),
    /// The server did not answer in time.
    Late,
    /// The server failed, or cannot be reached; the reason, for the operator alone.
    Failed(Arc<str>),
}

/// Reasons for which a session ends.
pub(super) enum Cause {
    /// The server closed the stream without an error.
    Closed,
    Reply(Box<ImmediateResponse>),
    Late,
    Failed(String),
}

struct State {
    ending: watch::Sender<Option<Ending>>,
    fail_open: bool,
    is_observer: bool,
    /// The request of a server that only watches is over.
    over: Notify,
    /// The server holds parts of a body that nobody else has.
    is_bound: AtomicBool,
}

/// Limits of a session.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Whether a request goes on where the server fails.
    pub fail_open: bool,
    /// Whether the server only watches: its answers count for nothing, and nothing waits for them.
    pub is_observer: bool,
    /// The longest message taken from the server, in bytes.
    pub max_message: usize,
}

impl Session {
    /// Begins a stream with its first message. `call` sends the messages to the server and gives its response, or says why there
    /// is none. The lanes are the request's and the response's.
    pub fn start<B, F>(first: Bytes, limits: Limits, call: impl FnOnce(SharedOutbox) -> F) -> (Arc<Self>, [Lane; 2])
    where
        F: Future<Output = Result<Response<B>, String>> + Send + 'static,
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // A body that is sent as one is as long as an answer to it may be.
        let Limits { fail_open, is_observer, .. } = limits;
        let (begun, limit) = (VecDeque::from([first]), limits.max_message.saturating_add(MAX_QUEUED));
        let (outbox, sender) = if is_observer { Outbox::observed(begun, limit) } else { Outbox::with_limit(begun, limit) };
        let ending = watch::Sender::new(None);
        let state = Arc::new(State { ending, fail_open, is_observer, over: Notify::new(), is_bound: AtomicBool::new(false) });
        let (to_request, from_request) = mpsc::channel(MAX_REPLIES);
        let (to_response, from_response) = mpsc::channel(MAX_REPLIES);
        let call = call(outbox.shared());
        let task = tokio::spawn(listen(call, limits.max_message, [to_request, to_response], Arc::clone(&state)));
        let session = Arc::new(Self { outbox: sender, state, listener: task.abort_handle() });
        let lanes = [
            Lane::new(Direction::Request, from_request, Arc::clone(&session)),
            Lane::new(Direction::Response, from_response, Arc::clone(&session)),
        ];
        (session, lanes)
    }

    /// The end, if it has come.
    pub fn ending(&self) -> Option<Ending> {
        self.state.ending.borrow().clone()
    }

    /// Waits until the server refuses the request.
    pub async fn refused(&self) -> Refusal {
        match self.ended().await {
            Ending::Refused(refusal) => refusal,
            Ending::LetGo => std::future::pending().await,
        }
    }

    /// Sends a message's frames to a server that only watches. One that does not keep up is let go.
    pub fn show(&self, frames: impl IntoIterator<Item = Bytes>) {
        if !self.outbox.write(frames) {
            self.end(Cause::Failed("it does not keep up".to_owned()));
        }
    }

    /// Waits until little is queued for the server.
    pub(super) async fn has_room(&self) {
        self.outbox.has_room().await;
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> Ending {
        let mut ending = self.state.ending.subscribe();
        // The sender is as old as the session.
        match ending.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(ending)) => ending.clone(),
            _ => Ending::LetGo,
        }
    }

    /// Ends the session. The first end counts.
    pub(super) fn end(&self, cause: Cause) -> Ending {
        self.state.end(cause)
    }

    /// Says whether the server holds parts of a body that nobody else has: the request cannot go on without it then.
    pub(super) fn bind(&self, is_bound: bool) {
        self.state.is_bound.store(is_bound, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.state.is_observer {
            self.state.over.notify_one();
        } else {
            self.listener.abort();
        }
    }
}

impl State {
    fn end(&self, cause: Cause) -> Ending {
        let is_bound = self.is_bound.load(Ordering::Relaxed);
        let may_pass = self.fail_open && !is_bound;
        let ending = match cause {
            Cause::Closed if is_bound => Ending::Refused(Refusal::Failed("it closed the stream in the middle of a body".into())),
            Cause::Closed => Ending::LetGo,
            Cause::Reply(reply) => Ending::Refused(Refusal::Reply(local_reply(*reply))),
            Cause::Late | Cause::Failed(_) if may_pass => Ending::LetGo,
            Cause::Late => Ending::Refused(Refusal::Late),
            Cause::Failed(reason) => Ending::Refused(Refusal::Failed(reason.into())),
        };
        self.ending.send_if_modified(|known| known.is_none() && known.replace(ending.clone()).is_none());
        self.ending.borrow().clone().unwrap_or(ending)
    }
}

/// The answer to a client. Without a status it is 200, as in Envoy.
fn local_reply(response: ImmediateResponse) -> LocalReply {
    let has_status = response.status.as_ref().is_some_and(|status| status.code >= 200);
    let mut reply = LocalReply::from(response);
    if !has_status {
        reply.status = StatusCode::OK;
    }
    reply
}

/// Hands a server's answers to the lanes, until the stream or the session ends. Those of one that only watches go nowhere.
async fn listen<B>(
    call: impl Future<Output = Result<Response<B>, String>>,
    max_message: usize,
    lanes: [mpsc::Sender<Reply>; 2],
    state: Arc<State>,
) where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut ending = state.ending.subscribe();
    let lanes = (!state.is_observer).then_some(&lanes);
    tokio::select! {
        cause = converse(call, max_message, lanes) => drop(state.end(cause)),
        _ = ending.wait_for(Option::is_some) => {}
        () = async {
            state.over.notified().await;
            sleep(LINGER).await;
        } => {}
    }
}

async fn converse<B>(
    call: impl Future<Output = Result<Response<B>, String>>,
    max_message: usize,
    lanes: Option<&[mpsc::Sender<Reply>; 2]>,
) -> Cause
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let response = match call.await {
        Ok(response) => response,
        Err(reason) => return Cause::Failed(reason),
    };
    let mut replies = match stream(response, max_message) {
        Ok(replies) => replies,
        Err(cause) => return cause,
    };
    loop {
        let reply = match replies.message().await {
            Ok(Some(reply)) => reply,
            Ok(None) => return Cause::Closed,
            Err(status) => return failed(&status),
        };
        // The answers of a server that only watches count for nothing.
        let Some(lanes) = lanes else { continue };
        // More time is granted up to a maximum, which Envoy Gateway leaves at 0.
        if reply.override_message_timeout.is_some() {
            continue;
        }
        let ProcessingResponse { response, dynamic_metadata, mode_override, .. } = reply;
        let (direction, answer) = match response {
            Some(Said::RequestHeaders(it)) => (Direction::Request, Answer::Headers(it.response.unwrap_or_default())),
            Some(Said::ResponseHeaders(it)) => (Direction::Response, Answer::Headers(it.response.unwrap_or_default())),
            Some(Said::RequestBody(it)) => (Direction::Request, Answer::Body(it.response.unwrap_or_default())),
            Some(Said::ResponseBody(it)) => (Direction::Response, Answer::Body(it.response.unwrap_or_default())),
            Some(Said::RequestTrailers(it)) => (Direction::Request, Answer::Trailers(it.header_mutation.unwrap_or_default())),
            Some(Said::ResponseTrailers(it)) => (Direction::Response, Answer::Trailers(it.header_mutation.unwrap_or_default())),
            Some(Said::ImmediateResponse(it)) => return Cause::Reply(Box::new(it)),
            None => return Cause::Failed("it sent a message without an answer".to_owned()),
        };
        let lane = match direction {
            Direction::Request => &lanes[0],
            Direction::Response => &lanes[1],
        };
        // A direction that is through listens no more.
        let _ = lane.send(Reply { answer, metadata: dynamic_metadata, mode: mode_override }).await;
    }
}

fn stream<B>(response: Response<B>, max_message: usize) -> Result<Streaming<ProcessingResponse>, Cause>
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = response.into_parts();
    let grpc = head.headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if head.status != StatusCode::OK || !grpc {
        return Err(Cause::Failed(format!("it answered {}, not gRPC", head.status)));
    }
    if let Some(status) = Status::from_header_map(&head.headers) {
        return Err(if status.code() == Code::Ok { Cause::Closed } else { failed(&status) });
    }
    let decoder = ProstCodec::<ProcessingRequest, ProcessingResponse>::default().decoder();
    Ok(Streaming::new_response(decoder, body, head.status, None, Some(max_message)))
}

fn failed(status: &Status) -> Cause {
    Cause::Failed(format!("it failed: {} ({})", status.message(), status.code()))
}
