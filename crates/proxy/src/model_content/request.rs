//! Messages of a request: chat completions, completions, responses and messages.

use serde_json::Value;

use super::{
    MAX_MESSAGES, Message, Part,
    parts::{of_content, of_part, of_tool_calls, plain, text},
};

/// Instructions that stand apart from messages.
pub(super) fn instructions(document: &Value) -> Vec<Part> {
    ["system", "instructions"].into_iter().flat_map(|name| of_content(&document[name])).collect()
}

/// Messages, oldest first.
pub(super) fn messages(document: &Value) -> Vec<Message> {
    if let Value::Array(all) = &document["messages"] {
        return newest(all).iter().map(message).collect();
    }
    match (&document["input"], &document["prompt"]) {
        (Value::Array(items), _) if items.iter().any(Value::is_object) => newest(items).iter().map(item).collect(),
        (Value::String(prompt), _) | (_, Value::String(prompt)) => vec![Message::of_text("user", prompt)],
        (_, Value::Array(prompts)) => {
            newest(prompts).iter().filter_map(Value::as_str).map(|prompt| Message::of_text("user", prompt)).collect()
        }
        _ => Vec::new(),
    }
}

/// No message is made of those that have no room.
fn newest(all: &[Value]) -> &[Value] {
    &all[all.len().saturating_sub(MAX_MESSAGES)..]
}

fn message(message: &Value) -> Message {
    let role = message["role"].as_str().unwrap_or_default();
    let parts = match message["tool_call_id"].as_str() {
        Some(id) => vec![Part::ToolResponse { id: id.to_owned(), response: plain(&message["content"]) }],
        None => of_content(&message["content"]).into_iter().chain(of_tool_calls(&message["tool_calls"])).collect(),
    };
    Message { role: role.to_owned(), parts, finish_reason: None }
}

/// An item of OpenAI's responses.
fn item(item: &Value) -> Message {
    let (role, parts) = match item["type"].as_str() {
        Some("function_call") => {
            let call =
                Part::ToolCall { id: text(&item["call_id"]), name: text(&item["name"]), arguments: text(&item["arguments"]) };
            ("assistant", vec![call])
        }
        Some("function_call_output") => {
            ("tool", vec![Part::ToolResponse { id: text(&item["call_id"]), response: plain(&item["output"]) }])
        }
        None | Some("message") => (item["role"].as_str().unwrap_or_default(), of_content(&item["content"])),
        Some(_) => ("", vec![of_part(item)]),
    };
    Message { role: role.to_owned(), parts, finish_reason: None }
}
