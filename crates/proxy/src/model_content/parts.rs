//! Parts of messages, as the dialects write them.

use serde_json::Value;

use super::Part;

/// Parts of a `content`: a text, or a list of parts.
pub(super) fn of_content(content: &Value) -> Vec<Part> {
    match content {
        Value::String(text) => vec![text_part(text)],
        Value::Array(parts) => parts.iter().map(of_part).collect(),
        _ => Vec::new(),
    }
}

/// One part of a list.
pub(super) fn of_part(part: &Value) -> Part {
    let kind = part["type"].as_str().unwrap_or_default();
    match kind {
        "text" | "input_text" | "output_text" | "refusal" => {
            text_part(part["text"].as_str().or(part["refusal"].as_str()).unwrap_or_default())
        }
        "thinking" | "reasoning" => reasoning(part["thinking"].as_str().or(part["text"].as_str()).unwrap_or_default()),
        "tool_use" => Part::ToolCall { id: text(&part["id"]), name: text(&part["name"]), arguments: text(&part["input"]) },
        "tool_result" => Part::ToolResponse { id: text(&part["tool_use_id"]), response: plain(&part["content"]) },
        other => Part::Other(other.to_owned()),
    }
}

/// Calls of tools, as OpenAI's `tool_calls` have them.
pub(super) fn of_tool_calls(calls: &Value) -> impl Iterator<Item = Part> {
    calls.as_array().into_iter().flatten().map(|call| {
        let function = &call["function"];
        Part::ToolCall { id: text(&call["id"]), name: text(&function["name"]), arguments: text(&function["arguments"]) }
    })
}

pub(super) fn text_part(content: &str) -> Part {
    Part::Text { is_reasoning: false, content: content.to_owned() }
}

pub(super) fn reasoning(content: &str) -> Part {
    Part::Text { is_reasoning: true, content: content.to_owned() }
}

/// A text, or a value as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The text of a `content`, without its other parts.
pub(super) fn plain(content: &Value) -> String {
    let Value::Array(parts) = content else { return text(content) };
    parts.iter().filter_map(|part| part["text"].as_str()).collect()
}
