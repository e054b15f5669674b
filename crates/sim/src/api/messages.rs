//! `POST /v1/messages`: Anthropic's API.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::chat::{Content, image_text};
use crate::app::App;
use crate::generation::{Prompt, Usage, Wish};
use crate::kv_transfer::Transfer;
use crate::reply::{ApiError, Reply, events, json as reply_json};
use crate::service::Call;
use crate::sse::{EventStream, Format, event};
use crate::text::FinishReason;
use crate::tools::{Tool, ToolCall, decide};

#[derive(Deserialize)]
struct MessagesRequest {
    model: String,
    max_tokens: Option<u32>,
    messages: Vec<Turn>,
    system: Option<Content>,
    stop_sequences: Option<Vec<String>>,
    stream: Option<bool>,
    tools: Option<Vec<AnthropicTool>>,
    tool_choice: Option<Value>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: Value,
}

#[derive(Deserialize)]
struct AnthropicTool {
    name: String,
    #[serde(default)]
    input_schema: Value,
}

impl Turn {
    /// The text of a turn: a string, or blocks of text, tool use and tool results.
    fn text(&self) -> String {
        if let Some(text) = self.content.as_str() {
            return text.to_owned();
        }
        let blocks = self.content.as_array().map(Vec::as_slice).unwrap_or_default();
        blocks.iter().map(block_text).collect()
    }

    fn is_tool_result(&self) -> bool {
        let blocks = self.content.as_array().map(Vec::as_slice).unwrap_or_default();
        blocks.iter().any(|block| block["type"] == "tool_result")
    }
}

fn block_text(block: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        Value::Object(_) => value.to_string(),
        _ => String::new(),
    };
    match block["type"].as_str() {
        Some("tool_use") => text(&block["input"]),
        Some("tool_result") => text(&block["content"]),
        Some("image") => image_text(&block["source"].to_string()),
        _ => text(&block["text"]),
    }
}

/// Answers a message, whole or as a stream.
pub(crate) async fn create(app: &Arc<App>, call: &Call) -> Reply {
    let request: MessagesRequest = call.json()?;
    let Some(max_tokens) = request.max_tokens else { return Err(ApiError::bad_request("max_tokens: Field required")) };
    let (prompt, tool_call) = prompt(app, &request)?;
    let streaming = request.stream.unwrap_or(false);
    let wish = Wish {
        max_tokens: Some(max_tokens),
        stop: request.stop_sequences.unwrap_or_default(),
        fixed: tool_call.as_ref().map(|call| (call.arguments.clone(), FinishReason::ToolCalls)),
        stream: streaming,
        ..Wish::default()
    };
    let transfer = Transfer::begin(app, call).await?;
    let mut generation = prompt.received(transfer.received())?.generate(app, &wish).await?;
    let handed_over = transfer.end(app, &mut generation).await?;
    let id = app.id("msg_");
    let tool = tool_call.map(|call| (app.id("toolu_"), call));
    if streaming {
        let format = MessageEvents { id, model: request.model, tool, stop_reason: "end_turn" };
        return events(EventStream::new(generation, Box::new(format)));
    }
    generation.finish().await;
    let (text, finish) = generation.completions().next().unwrap_or(("", FinishReason::Stop));
    let content = match &tool {
        None => json!({"type": "text", "text": text}),
        Some((id, call)) => {
            // Arguments cut short by `max_tokens` are no JSON; an empty object stands for them.
            let input = serde_json::from_str(text).unwrap_or_else(|_| json!({}));
            json!({"type": "tool_use", "id": id, "name": call.name, "input": input})
        }
    };
    let mut reply = json!({
        "id": id, "type": "message", "role": "assistant", "model": request.model, "content": [content],
        "stop_reason": stop_reason(finish), "stop_sequence": null, "usage": usage_json(generation.usage()),
    });
    handed_over.add_to(&mut reply, None);
    reply_json(&reply)
}

/// Tells how many tokens a message's prompt has.
pub(crate) fn count_tokens(app: &Arc<App>, call: &Call) -> Reply {
    let (prompt, _) = prompt(app, &call.json()?)?;
    reply_json(&json!({"input_tokens": prompt.tokens()}))
}

fn prompt(app: &Arc<App>, request: &MessagesRequest) -> Result<(Prompt, Option<ToolCall>), ApiError> {
    let model = app.model(Some(request.model.clone()))?;
    if request.messages.is_empty() {
        return Err(ApiError::bad_request("`messages` must not be empty."));
    }
    let mut prompt = Prompt::new(app, model, None);
    let tool_call = offer_tools(request, &mut prompt);
    if let Some(system) = &request.system {
        prompt.message("system", &system.text());
    }
    for turn in &request.messages {
        prompt.message(&turn.role, &turn.text());
    }
    prompt.open_answer();
    Ok((prompt, tool_call))
}

fn offer_tools(request: &MessagesRequest, prompt: &mut Prompt) -> Option<ToolCall> {
    let tools: Vec<Tool<'_>> =
        request.tools.as_ref()?.iter().map(|tool| Tool { name: &tool.name, schema: &tool.input_schema }).collect();
    for tool in &tools {
        prompt.message("tools", &format!("{}{}", tool.name, tool.schema));
    }
    let last = request.messages.last()?;
    decide(&tools, request.tool_choice.as_ref(), last.is_tool_result(), &last.text())
}

fn stop_reason(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
    }
}

/// Anthropic counts cached tokens apart from `input_tokens`.
fn usage_json(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt - usage.cached, "output_tokens": usage.completion,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": usage.cached,
    })
}

struct MessageEvents {
    id: String,
    model: String,
    tool: Option<(String, ToolCall)>,
    stop_reason: &'static str,
}

impl Format for MessageEvents {
    fn start(&mut self, usage: Usage, chunks: &mut VecDeque<Bytes>) {
        let message = json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage_json(Usage { completion: 0, ..usage }),
        });
        chunks.push_back(event("message_start", &json!({"type": "message_start", "message": message})));
        let block = match &self.tool {
            None => json!({"type": "text", "text": ""}),
            Some((id, call)) => json!({"type": "tool_use", "id": id, "name": call.name, "input": {}}),
        };
        let start = json!({"type": "content_block_start", "index": 0, "content_block": block});
        chunks.push_back(event("content_block_start", &start));
    }

    fn token(&mut self, _choice: usize, piece: &str, chunks: &mut VecDeque<Bytes>) {
        let delta = match self.tool {
            None => json!({"type": "text_delta", "text": piece}),
            Some(_) => json!({"type": "input_json_delta", "partial_json": piece}),
        };
        let payload = json!({"type": "content_block_delta", "index": 0, "delta": delta});
        chunks.push_back(event("content_block_delta", &payload));
    }

    fn finish(&mut self, _choice: usize, reason: FinishReason, chunks: &mut VecDeque<Bytes>) {
        self.stop_reason = stop_reason(reason);
        chunks.push_back(event("content_block_stop", &json!({"type": "content_block_stop", "index": 0})));
    }

    fn end(&mut self, usage: Usage, chunks: &mut VecDeque<Bytes>) {
        let delta = json!({
            "type": "message_delta", "delta": {"stop_reason": self.stop_reason, "stop_sequence": null},
            "usage": usage_json(usage),
        });
        chunks.push_back(event("message_delta", &delta));
        chunks.push_back(event("message_stop", &json!({"type": "message_stop"})));
    }
}
