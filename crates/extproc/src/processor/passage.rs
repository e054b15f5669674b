//! A body's way past a server, piece by piece.

mod duplex;

use std::{collections::VecDeque, future::poll_fn, pin::Pin, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use pailou_envoy_proto::core::Metadata;
use tokio::time::Instant;

pub use duplex::full_duplex;

use super::{Answer, Ending, Lane, Refusal, Reply, Sink, change, message};
use crate::chunks::chunks_to_end;

/// Most bytes that a server may hold back. The sender waits beyond that.
const MAX_PENDING: usize = 1 << 20;

/// Settings of a passage.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Time for each answer.
    pub timeout: Duration,
    /// Whether the server gets the trailers.
    pub trailers: bool,
    /// Metadata that goes with every message.
    pub metadata: Option<Metadata>,
}

/// Why a body does not pass.
#[derive(Debug)]
pub enum PassageError<E> {
    /// It broke off.
    Source(E),
    /// The server refuses the request, or failed.
    Refused(Refusal),
}

/// Takes a body past a server that answers each piece (`Streamed`). Where the server leaves, the pieces that it has not answered and the
/// rest pass as they are.
///
/// # Errors
/// The body breaks off, or the request goes no further.
pub async fn streamed<B>(lane: Lane, source: B, sink: Sink, settings: Settings) -> Result<(), PassageError<B::Error>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut passage =
        Passage { lane, source, sink, settings, pending: VecDeque::new(), bytes: 0, trailers: None, stage: Stage::Body };
    match passage.run().await {
        Ok(()) => Ok(()),
        Err(Stop::Ended(Ending::LetGo)) => passage.pass_on().await,
        Err(Stop::Ended(Ending::Refused(refusal))) => Err(PassageError::Refused(refusal)),
        Err(Stop::Source(error)) => Err(PassageError::Source(error)),
        Err(Stop::Unread) => Ok(()),
    }
}

struct Passage<B> {
    lane: Lane,
    source: B,
    sink: Sink,
    settings: Settings,
    /// Sent, and not answered. The last piece may be empty: the end alone.
    pending: VecDeque<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The body comes.
    Body,
    /// All of the body was sent.
    Sent,
    /// The trailers were sent.
    Trailers,
}

enum Stop<E> {
    Ended(Ending),
    Source(E),
    /// Nobody reads the body any more.
    Unread,
}

impl<E> From<Ending> for Stop<E> {
    fn from(ending: Ending) -> Self {
        Self::Ended(ending)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Passage<B> {
    async fn run(&mut self) -> Result<(), Stop<B::Error>> {
        let mut due = None;
        loop {
            let is_owed = !self.pending.is_empty() || self.stage == Stage::Trailers;
            if !is_owed && self.stage == Stage::Sent {
                let Some(trailers) = &self.trailers else { return Ok(()) };
                if !self.settings.trailers {
                    return self.put_trailers().await;
                }
                // Trailers follow once the whole body is answered, as in Envoy.
                self.lane.send([message::trailers(self.lane.direction(), trailers, self.settings.metadata.as_ref())]);
                self.stage = Stage::Trailers;
                due = Some(Instant::now() + self.settings.timeout);
                continue;
            }
            let may_read = self.stage == Stage::Body && self.bytes < MAX_PENDING;
            tokio::select! {
                biased;
                reply = self.lane.reply(due.filter(|_| is_owed)) => {
                    if self.answered(reply?).await? {
                        return Ok(());
                    }
                    due = Some(Instant::now() + self.settings.timeout);
                }
                frame = next(&mut self.source), if may_read => {
                    self.send(frame)?;
                    due = Some(Instant::now() + self.settings.timeout);
                }
            }
        }
    }

    fn send(&mut self, frame: Option<Result<Frame<Bytes>, B::Error>>) -> Result<(), Stop<B::Error>> {
        match frame.transpose().map_err(Stop::Source)?.map(Frame::into_data) {
            Some(Ok(data)) => {
                let is_last = self.source.is_end_stream();
                for (piece, last) in chunks_to_end(&data, is_last) {
                    self.send_piece(piece, last);
                }
            }
            Some(Err(frame)) => {
                self.trailers = frame.into_trailers().ok();
                self.stage = Stage::Sent;
            }
            None => self.send_piece(Bytes::new(), true),
        }
        Ok(())
    }

    fn send_piece(&mut self, piece: Bytes, last: bool) {
        self.lane.send(message::body(self.lane.direction(), &piece, last, self.settings.metadata.as_ref()));
        self.bytes += piece.len();
        self.pending.push_back(piece);
        if last {
            self.stage = Stage::Sent;
        }
    }

    /// Takes an answer; whether it was the last.
    async fn answered(&mut self, reply: Reply) -> Result<bool, Stop<B::Error>> {
        match reply.answer {
            Answer::Body(answer) if !self.pending.is_empty() => {
                let piece = self.pending.pop_front().unwrap_or_default();
                self.bytes -= piece.len();
                let piece = change::piece(piece, answer.body_mutation).map_err(|error| self.lane.fail(error))?;
                if !piece.is_empty() {
                    self.put(Frame::data(piece)).await?;
                }
                Ok(false)
            }
            Answer::Trailers(mutation) if self.stage == Stage::Trailers => {
                if let Some(trailers) = &mut self.trailers {
                    change::headers(&mutation, trailers).map_err(|error| self.lane.fail(error))?;
                }
                self.put_trailers().await?;
                Ok(true)
            }
            _ => Err(self.lane.fail("it answered something that it was not sent").into()),
        }
    }

    /// Passes on all that is left, without the server.
    async fn pass_on(mut self) -> Result<(), PassageError<B::Error>> {
        for piece in std::mem::take(&mut self.pending) {
            if !piece.is_empty() && self.sink.send(Frame::data(piece)).await.is_err() {
                return Ok(());
            }
        }
        while self.stage == Stage::Body
            && let Some(frame) = next(&mut self.source).await
        {
            if self.sink.send(frame.map_err(PassageError::Source)?).await.is_err() {
                return Ok(());
            }
        }
        let _ = self.put_trailers().await;
        Ok(())
    }

    async fn put_trailers(&mut self) -> Result<(), Stop<B::Error>> {
        match self.trailers.take() {
            Some(trailers) => self.put(Frame::trailers(trailers)).await,
            None => Ok(()),
        }
    }

    async fn put(&mut self, frame: Frame<Bytes>) -> Result<(), Stop<B::Error>> {
        self.sink.send(frame).await.map_err(|_| Stop::Unread)
    }
}

/// The next frame of a body.
async fn next<B: Body<Data = Bytes> + Unpin>(source: &mut B) -> Option<Result<Frame<Bytes>, B::Error>> {
    poll_fn(|context| Pin::new(&mut *source).poll_frame(context)).await
}
