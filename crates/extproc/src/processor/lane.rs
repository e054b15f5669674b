//! One direction of a session: messages to the server, and its answers in order.

use std::sync::Arc;

use bytes::Bytes;
use pailou_envoy_proto::{
    ext_proc::{CommonResponse, HeaderMutation, ProcessingMode},
    structs::Struct,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::session::{Cause, Ending, Session};
use crate::Direction;

/// The end of a session that is one direction's.
pub struct Lane {
    direction: Direction,
    replies: mpsc::Receiver<Reply>,
    session: Arc<Session>,
}

/// An answer of the server's.
#[derive(Debug)]
pub struct Reply {
    /// The answer to a part.
    pub answer: Answer,
    /// Metadata for the request, by namespace.
    pub metadata: Option<Struct>,
    /// Parts that the server wants from now on.
    pub mode: Option<ProcessingMode>,
}

/// Parts that an answer is to.
#[derive(Debug)]
pub enum Answer {
    /// Headers.
    Headers(CommonResponse),
    /// A piece of a body.
    Body(CommonResponse),
    /// Trailers.
    Trailers(HeaderMutation),
}

impl Lane {
    pub(super) fn new(direction: Direction, replies: mpsc::Receiver<Reply>, session: Arc<Session>) -> Self {
        Self { direction, replies, session }
    }

    /// The direction.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Sends a message's frames. The next answer says so if the stream is gone.
    pub fn send(&self, frames: impl IntoIterator<Item = Bytes>) {
        // Where the stream is gone, the listener is about to say why.
        if !self.session.outbox.write(frames) && !self.session.outbox.is_closed() {
            self.session.end(Cause::Failed("it reads no messages".to_owned()));
        }
    }

    /// The server's next answer.
    ///
    /// # Errors
    /// The session has ended, or ends as there is no answer by the time `due`.
    pub async fn reply(&mut self, due: Option<Instant>) -> Result<Reply, Ending> {
        tokio::select! {
            biased;
            reply = self.replies.recv() => match reply {
                Some(reply) => Ok(reply),
                None => Err(self.session.ending().unwrap_or(Ending::LetGo)),
            },
            ending = self.session.ended() => Err(ending),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Err(self.session.end(Cause::Late)),
        }
    }

    /// Ends the session as the server's answer cannot be followed.
    pub fn fail(&self, reason: impl ToString) -> Ending {
        self.session.end(Cause::Failed(reason.to_string()))
    }
}
