//! Server-sent events: a generation in one of the APIs' stream formats, a chunk for each token.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::generation::{Generation, Output, Usage};
use crate::text::FinishReason;

/// How an API words a stream. Every `Bytes` pushed becomes one chunk of the response.
pub(crate) trait Format: Send {
    /// Events before the first token.
    fn start(&mut self, usage: Usage, chunks: &mut VecDeque<Bytes>);
    /// One token of choice `choice`.
    fn token(&mut self, choice: usize, piece: &str, chunks: &mut VecDeque<Bytes>);
    /// The end of choice `choice`.
    fn finish(&mut self, choice: usize, reason: FinishReason, chunks: &mut VecDeque<Bytes>);
    /// Events after the last choice's end; the last chunk marks the end of the stream.
    fn end(&mut self, usage: Usage, chunks: &mut VecDeque<Bytes>);
}

/// The stream. Dropping it aborts what still runs.
pub(crate) struct EventStream {
    generation: Generation,
    format: Box<dyn Format>,
    chunks: VecDeque<Bytes>,
    phase: Phase,
    /// Leave the last chunk out.
    pub(crate) without_end: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Tokens,
    After,
}

impl EventStream {
    pub(crate) fn new(generation: Generation, format: Box<dyn Format>) -> Self {
        EventStream { generation, format, chunks: VecDeque::new(), phase: Phase::Before, without_end: false }
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Poll::Ready(Some(chunk));
            }
            if self.phase == Phase::After {
                return Poll::Ready(None);
            }
            let output = ready!(self.generation.poll_next(cx));
            if self.phase == Phase::Before {
                self.phase = Phase::Tokens;
                let usage = self.generation.usage();
                self.format.start(usage, &mut self.chunks);
            }
            match output {
                Some(Output::Token { choice, index }) => {
                    let piece = self.generation.piece(choice, index);
                    self.format.token(choice, piece, &mut self.chunks);
                }
                Some(Output::Finished { choice, reason }) => {
                    self.format.finish(choice, reason, &mut self.chunks);
                }
                None => {
                    self.phase = Phase::After;
                    let usage = self.generation.usage();
                    self.format.end(usage, &mut self.chunks);
                    if self.without_end {
                        self.chunks.pop_back();
                    }
                }
            }
        }
    }
}

/// An event without a name, as OpenAI's older APIs have it.
pub(crate) fn data(payload: &str) -> Bytes {
    Bytes::from(format!("data: {payload}\n\n"))
}

/// An event with a name.
pub(crate) fn event(name: &str, payload: &serde_json::Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {payload}\n\n"))
}

/// OpenAI's end of stream.
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// `text` as a JSON string, quotes included.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
