//! Attributes of a model call by OpenInference's conventions, as Phoenix reads them.

use std::fmt::Write as _;

use pailou_telemetry::attributes::Attributes;
use serde_json::json;

use super::model_call::ModelCall;
use crate::model_content::{Message, ModelContent, Part};

/// Most messages of each side.
const MAX_MESSAGES: usize = 16;
/// Most attributes of contents, half of them the answer's: a span has 128.
const MAX_ATTRIBUTES: usize = 80;

/// Appends what was asked for, and of whom.
pub(super) fn append_names(call: &ModelCall<'_>, attributes: &mut Attributes<'_>) {
    let is_embedding = call.operation == "embeddings";
    attributes.text("openinference.span.kind", if is_embedding { "EMBEDDING" } else { "LLM" });
    attributes.text("llm.system", call.provider);
    attributes.option(if is_embedding { "embedding.model_name" } else { "llm.model_name" }, call.model);
}

/// Appends the call's parameters and its answer.
pub(super) fn append(call: &ModelCall<'_>, attributes: &mut Attributes<'_>) {
    let kept = call.kept;
    let mut parameters = json!({});
    if kept.is_stream {
        parameters["stream"] = true.into();
    }
    if let Some(max_tokens) = kept.max_tokens {
        parameters["max_tokens"] = max_tokens.into();
    }
    attributes.text("llm.invocation_parameters", &parameters.to_string());
    let Some(answer) = &call.answer else { return };
    let Some(usage) = answer.usage else { return };
    call.append_prompt_usage(usage, attributes);
    attributes.number("llm.token_count.completion", usage.output_tokens);
    attributes.number("llm.token_count.total", usage.total_tokens);
    let counted = [
        ("llm.token_count.prompt_details.cache_creation", usage.cache_creation_tokens),
        ("llm.token_count.completion_details.reasoning", usage.reasoning_tokens),
    ];
    for (key, count) in counted {
        if let Some(count) = count {
            attributes.number(key, count);
        }
    }
}

/// Appends both sides.
pub(super) fn append_content(content: &ModelContent, attributes: &mut Attributes<'_>) {
    let mut left = MAX_ATTRIBUTES;
    // The answer first: it is mostly one message.
    for (side, instructions, messages) in [("output", &[][..], &content.output()), ("input", &content.instructions, &content.input)]
    {
        let pairs = side_of(side, instructions, messages, left / 2);
        left -= pairs.len();
        for (key, value) in pairs {
            attributes.whole_text(&key, &value);
        }
    }
}

/// Attributes of a side, so many at most: all of it as JSON, and its newest messages one by one. Texts are bounded.
fn side_of(side: &str, instructions: &[Part], messages: &[Message], most: usize) -> Vec<(String, String)> {
    let instructions = Message { role: "system".to_owned(), parts: instructions.to_vec(), finish_reason: None };
    let instructions = Some(instructions).filter(|it| !it.parts.is_empty());
    if messages.is_empty() && instructions.is_none() {
        return Vec::new();
    }
    let value: Vec<_> = instructions.iter().chain(messages).map(Message::to_json).collect();
    let whole = [(format!("{side}.value"), json!(value).to_string()), (format!("{side}.mime_type"), "application/json".to_owned())];
    let newest = newest(messages, instructions.as_ref(), most - whole.len());
    let single = instructions
        .iter()
        .chain(newest)
        .enumerate()
        .flat_map(|(number, message)| pairs_of(&format!("llm.{side}_messages.{number}.message"), message));
    // A message that is longer than the room has its first attributes.
    whole.into_iter().chain(single).take(most).collect()
}

/// The last messages of which all attributes have room beside those of the instructions; the last one in any case.
fn newest<'m>(messages: &'m [Message], instructions: Option<&Message>, mut left: usize) -> &'m [Message] {
    let count = |message: &Message| pairs_of("", message).len();
    left = left.saturating_sub(instructions.map_or(0, count));
    let most = MAX_MESSAGES - instructions.iter().count();
    let fits = |message: &&Message| {
        let needed = count(message);
        let has_room = needed <= left;
        left = left.saturating_sub(needed);
        has_room
    };
    let fitting = messages.iter().rev().take(most).take_while(fits).count();
    &messages[messages.len().saturating_sub(fitting.max(1))..]
}

/// Attributes of a message. Its texts are bounded.
fn pairs_of(name: &str, message: &Message) -> Vec<(String, String)> {
    let mut pairs = vec![(format!("{name}.role"), message.role.clone())];
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text { is_reasoning: false, content } => text.push_str(content),
            Part::ToolResponse { response, .. } => text.push_str(response),
            Part::ToolCall { id, name: tool, arguments } => calls.push([id, tool, arguments]),
            Part::Text { .. } => {}
            // Writing to a string does not fail.
            Part::Other(kind) => drop(write!(text, "[{kind}]")),
        }
    }
    if !text.is_empty() {
        pairs.push((format!("{name}.content"), text));
    }
    for (number, call) in calls.into_iter().enumerate() {
        for (key, value) in ["id", "function.name", "function.arguments"].into_iter().zip(call) {
            pairs.push((format!("{name}.tool_calls.{number}.tool_call.{key}"), value.clone()));
        }
    }
    pairs
}

#[cfg(test)]
mod tests;
