//! A message in the form of OpenTelemetry's conventions for generative AI.

use serde_json::{Value, json};

use super::redaction::redact;

/// Bytes that a part counts beside its texts: JSON names its kind.
const PART_BYTES: usize = 32;
/// Most parts of a message.
const MAX_PARTS: usize = 256;

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    pub(crate) role: String,
    pub(crate) parts: Vec<Part>,
    /// The model's reason to end it.
    pub(crate) finish_reason: Option<String>,
}

/// Part of a message. Media are named, and not kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// Text, or the reasoning before it.
    Text { is_reasoning: bool, content: String },
    /// A call of a tool.
    ToolCall { id: String, name: String, arguments: String },
    /// Its result.
    ToolResponse { id: String, response: String },
    /// Anything else, by its kind.
    Other(String),
}

impl Message {
    /// A message of text.
    pub(super) fn of_text(role: &str, content: &str) -> Self {
        let part = Part::Text { is_reasoning: false, content: content.to_owned() };
        Self { role: role.to_owned(), parts: vec![part], finish_reason: None }
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({"role": self.role, "parts": self.parts.iter().map(Part::to_json).collect::<Vec<_>>()});
        if let Some(reason) = &self.finish_reason {
            value["finish_reason"] = reason.as_str().into();
        }
        value
    }
}

impl Part {
    /// As JSON.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Text { is_reasoning, content } => {
                json!({"type": if *is_reasoning { "reasoning" } else { "text" }, "content": content})
            }
            Self::ToolCall { id, name, arguments } => json!({"type": "tool_call", "id": id, "name": name, "arguments": arguments}),
            Self::ToolResponse { id, response } => json!({"type": "tool_call_response", "id": id, "response": response}),
            Self::Other(kind) => json!({"type": kind}),
        }
    }

    fn texts(&mut self) -> Vec<(Rank, &mut String)> {
        match self {
            Self::Text { is_reasoning, content } => vec![(if *is_reasoning { Rank::Reasoning } else { Rank::Content }, content)],
            Self::ToolCall { id, name, arguments } => vec![(Rank::Name, name), (Rank::Name, id), (Rank::Content, arguments)],
            Self::ToolResponse { id, response } => vec![(Rank::Name, id), (Rank::Content, response)],
            Self::Other(kind) => vec![(Rank::Name, kind)],
        }
    }
}

/// Order in which texts of a message have room: reasoning takes none from the answer.
#[derive(Clone, Copy, PartialEq)]
enum Rank {
    Name,
    Content,
    Reasoning,
}

/// Takes credentials out of parts, and cuts them to so many bytes together; gives the bytes left.
pub(super) fn bound_parts(parts: &mut Vec<Part>, mut left: usize) -> usize {
    // Texts have half of the room at least.
    parts.truncate(MAX_PARTS.min(left / (2 * PART_BYTES)));
    left -= parts.len() * PART_BYTES;
    for rank in [Rank::Name, Rank::Content, Rank::Reasoning] {
        let texts = parts.iter_mut().flat_map(Part::texts).filter(|(its, _)| *its == rank);
        for (_, text) in texts {
            *text = redact(text);
            text.truncate(text.floor_char_boundary(left));
            left -= text.len();
        }
    }
    parts.retain_mut(|part| part.texts().iter().any(|(_, text)| !text.is_empty()));
    left
}

/// The same for messages: the last ones have room first.
pub(super) fn bound(messages: &mut Vec<Message>, mut left: usize, most: usize) {
    messages.drain(..messages.len().saturating_sub(most));
    for message in messages.iter_mut().rev() {
        left = bound_parts(&mut message.parts, left);
        message.role.truncate(message.role.floor_char_boundary(32));
        if let Some(reason) = &mut message.finish_reason {
            reason.truncate(reason.floor_char_boundary(64));
        }
    }
    messages.retain(|message| !message.parts.is_empty() || message.finish_reason.is_some());
}
