//! `POST /v1/responses`: OpenAI's newer API.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::chat::Content;
use crate::app::{App, now};
use crate::generation::{Prompt, Usage, Wish};
use crate::kv_transfer::Transfer;
use crate::reply::{Reply, events, json as reply_json};
use crate::service::Call;
use crate::sse::{EventStream, Format, event};
use crate::structured::ResponseFormat;
use crate::text::FinishReason;
use crate::tools::{Tool, ToolCall, decide};

#[derive(Deserialize)]
struct ResponsesRequest {
    model: Option<String>,
    input: Input,
    instructions: Option<String>,
    max_output_tokens: Option<u32>,
    stream: Option<bool>,
    tools: Option<Vec<FunctionTool>>,
    tool_choice: Option<Value>,
    text: Option<TextSettings>,
}

#[derive(Deserialize)]
struct TextSettings {
    format: Option<ResponseFormat>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Items(Vec<Item>),
}

/// A message, a call or a call's output.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<String>,
    content: Option<Content>,
    arguments: Option<String>,
    output: Option<Value>,
}

#[derive(Deserialize)]
struct FunctionTool {
    name: Option<String>,
    #[serde(default)]
    parameters: Value,
}

impl Item {
    fn text(&self) -> String {
        let output = self.output.as_ref().map(|output| match output {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let content = self.content.as_ref().map(Content::text);
        content.or_else(|| self.arguments.clone()).or(output).unwrap_or_default()
    }
}

/// Answers, whole or as a stream.
pub(crate) async fn create(app: &Arc<App>, call: &Call) -> Reply {
    let request: ResponsesRequest = call.json()?;
    let model = app.model(request.model.clone())?;
    let name = model.name.clone();
    let mut prompt = Prompt::new(app, model, None);
    let tool_call = offer_tools(&request, &mut prompt);
    if let Some(instructions) = &request.instructions {
        prompt.message("system", instructions);
    }
    match &request.input {
        Input::Text(text) => prompt.message("user", text),
        Input::Items(items) => {
            for item in items {
                prompt.message(item.role.as_deref().unwrap_or("tool"), &item.text());
            }
        }
    }
    prompt.open_answer();
    let format = request.text.as_ref().and_then(|text| text.format.as_ref());
    let structured = format.map_or(Ok(None), |format| format.output(&topic(&request)))?.map(|text| (text, FinishReason::Stop));
    let streaming = request.stream.unwrap_or(false);
    let wish = Wish {
        max_tokens: request.max_output_tokens,
        fixed: tool_call.as_ref().map(|call| (call.arguments.clone(), FinishReason::ToolCalls)).or(structured),
        stream: streaming,
        ..Wish::default()
    };
    let transfer = Transfer::begin(app, call).await?;
    let mut generation = prompt.received(transfer.received())?.generate(app, &wish).await?;
    let handed_over = transfer.end(app, &mut generation).await?;
    let tool = tool_call.map(|call| (app.id("call_"), call));
    let item_id = app.id(if tool.is_some() { "fc_" } else { "msg_" });
    let mut answer =
        Answer { id: app.id("resp_"), created: now(), model: name, item_id, tool, text: String::new(), finish: None, sequence: 0 };
    if streaming {
        return events(EventStream::new(generation, Box::new(answer)));
    }
    generation.finish().await;
    if let Some((text, finish)) = generation.completions().next() {
        answer.text = text.to_owned();
        answer.finish = Some(finish);
    }
    let mut reply = answer.response(Some(generation.usage()));
    handed_over.add_to(&mut reply, None);
    reply_json(&reply)
}

fn offer_tools(request: &ResponsesRequest, prompt: &mut Prompt) -> Option<ToolCall> {
    // Built-in tools have no name; they are not simulated.
    let named = request.tools.as_ref()?.iter().filter_map(|tool| Some((tool.name.as_deref()?, &tool.parameters)));
    let tools: Vec<Tool<'_>> = named.map(|(name, schema)| Tool { name, schema }).collect();
    for tool in &tools {
        prompt.message("tools", &format!("{}{}", tool.name, tool.schema));
    }
    let answered = match &request.input {
        Input::Text(_) => false,
        Input::Items(items) => items.last().is_some_and(|item| item.kind.as_deref() == Some("function_call_output")),
    };
    decide(&tools, request.tool_choice.as_ref(), answered, &topic(request))
}

/// The last words of the user.
fn topic(request: &ResponsesRequest) -> String {
    match &request.input {
        Input::Text(text) => text.clone(),
        Input::Items(items) => items.iter().rfind(|item| item.role.as_deref() == Some("user")).map(Item::text).unwrap_or_default(),
    }
}

/// The response object as it grows.
struct Answer {
    id: String,
    created: u64,
    model: String,
    item_id: String,
    tool: Option<(String, ToolCall)>,
    text: String,
    finish: Option<FinishReason>,
    sequence: u64,
}

impl Answer {
    /// The response: in progress until it has ended and `usage` is complete.
    fn response(&self, usage: Option<Usage>) -> Value {
        let status = match (usage, self.finish) {
            (None, _) => "in_progress",
            (_, Some(FinishReason::Length)) => "incomplete",
            _ => "completed",
        };
        let output = if usage.is_some() { vec![self.item()] } else { Vec::new() };
        json!({
            "id": self.id, "object": "response", "created_at": self.created, "model": self.model,
            "status": status, "output": output, "error": null,
            "incomplete_details": (status == "incomplete").then(|| json!({"reason": "max_output_tokens"})),
            "instructions": null, "metadata": {}, "parallel_tool_calls": true, "temperature": 1.0, "top_p": 1.0,
            "tool_choice": "auto", "tools": [],
            "usage": usage.map(|usage| json!({
                "input_tokens": usage.prompt, "input_tokens_details": {"cached_tokens": usage.cached},
                "output_tokens": usage.completion, "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.prompt + usage.completion,
            })),
        })
    }

    /// The one item of the output.
    fn item(&self) -> Value {
        let status = match self.finish {
            None => "in_progress",
            Some(FinishReason::Length) => "incomplete",
            Some(_) => "completed",
        };
        match &self.tool {
            None => {
                let content = if self.finish.is_some() { vec![self.part()] } else { Vec::new() };
                json!({"id": self.item_id, "type": "message", "role": "assistant", "status": status, "content": content})
            }
            Some((call_id, call)) => json!({
                "id": self.item_id, "type": "function_call", "status": status, "call_id": call_id, "name": call.name,
                "arguments": self.text,
            }),
        }
    }

    fn part(&self) -> Value {
        json!({"type": "output_text", "text": self.text, "annotations": [], "logprobs": []})
    }

    /// Appends an event, numbered; `fields` must be an object.
    fn emit(&mut self, name: &str, mut fields: Value, chunks: &mut VecDeque<Bytes>) {
        fields["type"] = name.into();
        fields["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        chunks.push_back(event(name, &fields));
    }

    /// Position of a text event in the output.
    fn place(&self, mut fields: Value) -> Value {
        fields["item_id"] = self.item_id.as_str().into();
        fields["output_index"] = 0.into();
        if self.tool.is_none() {
            fields["content_index"] = 0.into();
        }
        fields
    }
}

impl Format for Answer {
    fn start(&mut self, _usage: Usage, chunks: &mut VecDeque<Bytes>) {
        let response = json!({"response": self.response(None)});
        self.emit("response.created", response.clone(), chunks);
        self.emit("response.in_progress", response, chunks);
        let item = json!({"output_index": 0, "item": self.item()});
        self.emit("response.output_item.added", item, chunks);
        if self.tool.is_none() {
            let part = self.place(json!({"part": self.part()}));
            self.emit("response.content_part.added", part, chunks);
        }
    }

    fn token(&mut self, _choice: usize, piece: &str, chunks: &mut VecDeque<Bytes>) {
        self.text.push_str(piece);
        let (name, delta) = match self.tool {
            None => ("response.output_text.delta", json!({"delta": piece, "logprobs": []})),
            Some(_) => ("response.function_call_arguments.delta", json!({"delta": piece})),
        };
        let delta = self.place(delta);
        self.emit(name, delta, chunks);
    }

    fn finish(&mut self, _choice: usize, reason: FinishReason, chunks: &mut VecDeque<Bytes>) {
        self.finish = Some(reason);
        match &self.tool {
            None => {
                let done = self.place(json!({"text": self.text, "logprobs": []}));
                self.emit("response.output_text.done", done, chunks);
                let part = self.place(json!({"part": self.part()}));
                self.emit("response.content_part.done", part, chunks);
            }
            Some((_, call)) => {
                let done = self.place(json!({"arguments": self.text, "name": call.name}));
                self.emit("response.function_call_arguments.done", done, chunks);
            }
        }
        let item = json!({"output_index": 0, "item": self.item()});
        self.emit("response.output_item.done", item, chunks);
    }

    fn end(&mut self, usage: Usage, chunks: &mut VecDeque<Bytes>) {
        let name = match self.finish {
            Some(FinishReason::Length) => "response.incomplete",
            _ => "response.completed",
        };
        let response = json!({"response": self.response(Some(usage))});
        self.emit(name, response, chunks);
    }
}
