//! Contents of a model call for its span, where the operator opts in: messages of the request and of the response, in any dialect, bounded and
//! without what may be credentials.

mod message;
mod output;
mod parts;
mod redaction;
mod request;

pub(crate) use message::{Message, Part};

use serde_json::Value;

use self::output::OutputReader;
use crate::model_spans::ContentSides;

/// Most bytes of text of each side.
const MAX_TEXT: usize = 32 << 10;
/// Most of them for instructions: messages have the rest.
const MAX_INSTRUCTIONS: usize = 8 << 10;
/// Most messages of each side.
const MAX_MESSAGES: usize = 64;
/// Longest body that is read, in bytes: a longer one has no contents in spans.
const MAX_BODY: usize = 1 << 20;

/// Contents of one call.
pub(crate) struct ModelContent {
    sides: ContentSides,
    /// Instructions apart from messages.
    pub(crate) instructions: Vec<Part>,
    /// The newest messages of the request that have room.
    pub(crate) input: Vec<Message>,
    output: OutputReader,
}

impl ModelContent {
    pub(crate) fn new(sides: ContentSides) -> Self {
        Self { sides, instructions: Vec::new(), input: Vec::new(), output: OutputReader::default() }
    }

    /// Reads a request's body.
    pub(crate) fn read_request(&mut self, body: &[u8]) {
        if !self.sides.inputs || body.len() > MAX_BODY {
            return;
        }
        // A body that is no JSON has no messages.
        let Ok(document) = serde_json::from_slice::<Value>(body) else { return };
        self.instructions = request::instructions(&document);
        self.input = request::messages(&document);
        let left = message::bound_parts(&mut self.instructions, MAX_INSTRUCTIONS);
        message::bound(&mut self.input, MAX_TEXT - MAX_INSTRUCTIONS + left, MAX_MESSAGES);
    }

    /// Reads on in a response's body.
    pub(crate) fn read_response(&mut self, data: &[u8], is_event_stream: bool) {
        if self.sides.outputs {
            self.output.feed(data, is_event_stream);
        }
    }

    /// Messages of the response so far.
    pub(crate) fn output(&self) -> Vec<Message> {
        let mut messages = self.output.messages();
        message::bound(&mut messages, MAX_TEXT, MAX_MESSAGES);
        messages
    }
}

#[cfg(test)]
mod tests;
