//! Attributes of a model call by OpenInference's conventions, as Phoenix reads them.

use std::fmt::Write as _;

use pailou_telemetry::attributes::Attributes;
use serde_json::json;

use super::model_call::ModelCall;
use crate::model_content::{Message, ModelContent, Part};

/// Most messages of each side: a span has 128 attributes.
const MAX_MESSAGES: usize = 16;

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
    if let Some(content) = &kept.content {
        append_content(content, attributes);
    }
    let Some(usage) = answer.usage else { return };
    attributes.number("llm.token_count.prompt", usage.input_tokens);
    attributes.number("llm.token_count.completion", usage.output_tokens);
    attributes.number("llm.token_count.total", usage.total_tokens);
    let counted = [
        ("llm.token_count.prompt_details.cache_read", usage.cached_tokens),
        ("llm.token_count.prompt_details.cache_creation", usage.cache_creation_tokens),
        ("llm.token_count.completion_details.reasoning", usage.reasoning_tokens),
    ];
    for (key, count) in counted {
        if let Some(count) = count {
            attributes.number(key, count);
        }
    }
}

fn append_content(content: &ModelContent, attributes: &mut Attributes<'_>) {
    let instructions = Message { role: "system".to_owned(), parts: content.instructions.clone(), finish_reason: None };
    let mut input: Vec<Message> = content.input.clone();
    if !instructions.parts.is_empty() {
        input.insert(0, instructions);
    }
    for (side, messages) in [("input", input), ("output", content.output())] {
        if messages.is_empty() {
            continue;
        }
        let value: Vec<_> = messages.iter().map(Message::to_json).collect();
        attributes.whole_text(&format!("{side}.value"), &json!(value).to_string());
        attributes.text(&format!("{side}.mime_type"), "application/json");
        for (number, message) in messages.iter().take(MAX_MESSAGES).enumerate() {
            append_message(&format!("llm.{side}_messages.{number}.message"), message, attributes);
        }
    }
}

fn append_message(name: &str, message: &Message, attributes: &mut Attributes<'_>) {
    attributes.text(&format!("{name}.role"), &message.role);
    let (mut text, mut calls) = (String::new(), 0);
    for part in &message.parts {
        match part {
            Part::Text { is_reasoning: false, content } => text.push_str(content),
            Part::ToolResponse { response, .. } => text.push_str(response),
            Part::ToolCall { id, name: tool, arguments } => {
                let call = format!("{name}.tool_calls.{calls}.tool_call");
                attributes.text(&format!("{call}.id"), id);
                attributes.text(&format!("{call}.function.name"), tool);
                attributes.whole_text(&format!("{call}.function.arguments"), arguments);
                calls += 1;
            }
            Part::Text { .. } => {}
            // Writing to a string does not fail.
            Part::Other(kind) => drop(write!(text, "[{kind}]")),
        }
    }
    if !text.is_empty() {
        attributes.whole_text(&format!("{name}.content"), &text);
    }
}
