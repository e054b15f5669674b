//! `POST /v1/chat/completions`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, now};
use crate::generation::{Prompt, Stop, Usage, Wish};
use crate::kv_transfer::Transfer;
use crate::reply::{ApiError, Reply, events, json as reply_json};
use crate::service::Call;
use crate::sse::{DONE, EventStream, Format, data, quoted};
use crate::structured::ResponseFormat;
use crate::text::FinishReason;
use crate::tokenizer::hash_bytes;
use crate::tools::{Tool, ToolCall, decide};

#[derive(Deserialize)]
struct ChatRequest {
    model: Option<String>,
    messages: Vec<Message>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    #[serde(default)]
    stop: Stop,
    seed: Option<i64>,
    tools: Option<Vec<ChatTool>>,
    tool_choice: Option<Value>,
    cache_salt: Option<String>,
    ignore_eos: Option<bool>,
    min_tokens: Option<u32>,
    response_format: Option<ResponseFormat>,
    add_generation_prompt: Option<bool>,
    /// TensorRT-LLM's: tokens of the prompt, where another engine has computed it.
    prompt_token_ids: Option<Vec<u32>>,
}

/// Parts of a stream beside tokens.
#[derive(Default, Deserialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
}

/// A message of a chat, as far as it matters for the prompt.
#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) role: String,
    content: Option<Content>,
    tool_calls: Option<Vec<PastCall>>,
}

/// Text, or a list of parts of which the texts count.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
pub(super) struct Part {
    text: Option<String>,
    image_url: Option<Value>,
}

/// Stands for an image in a prompt: tokens that are a function of it alone.
pub(super) fn image_text(image: &str) -> String {
    format!("<image {:016x}>", hash_bytes(image.as_bytes()))
}

impl Part {
    fn text(&self) -> String {
        let image = self.image_url.as_ref().map(|url| image_text(&url.to_string()));
        self.text.clone().or(image).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct PastCall {
    function: Option<PastFunction>,
}

#[derive(Deserialize)]
struct PastFunction {
    arguments: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ChatTool {
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    parameters: Value,
}

impl Content {
    pub(super) fn text(&self) -> String {
        match self {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => parts.iter().map(Part::text).collect(),
        }
    }
}

impl Message {
    pub(super) fn text(&self) -> String {
        let mut text = self.content.as_ref().map(Content::text).unwrap_or_default();
        for call in self.tool_calls.iter().flatten() {
            text.push_str(call.function.as_ref().and_then(|f| f.arguments.as_deref()).unwrap_or(""));
        }
        text
    }
}

/// Answers a chat, whole or as a stream.
pub(crate) async fn create(app: &Arc<App>, call: &Call) -> Reply {
    let request: ChatRequest = call.json()?;
    let model = app.model(request.model.clone())?;
    if request.messages.is_empty() {
        return Err(ApiError::bad_request("`messages` must not be empty."));
    }
    let name = model.name.clone();
    let transfer = Transfer::begin(app, call).await?;
    let mut prompt = Prompt::new(app, model, request.cache_salt.as_deref());
    let tools = functions(request.tools.as_deref());
    if !prompt.add_from_files(app, &call.body)? {
        write_prompt(&mut prompt, &tools, &request.messages, request.add_generation_prompt.unwrap_or(true));
    }
    if request.prompt_token_ids.as_ref().is_some_and(|ids| *ids != prompt.clone().into_tokens()) {
        return Err(ApiError::bad_request("`prompt_token_ids` are those of another prompt."));
    }
    let tool_call = choose_tool(&tools, &request);
    let structured = structured(&request)?.map(|text| (text, FinishReason::Stop));
    let streaming = request.stream.unwrap_or(false);
    let wish = Wish {
        max_tokens: request.max_completion_tokens.or(request.max_tokens),
        stop: request.stop.into(),
        choices: request.n,
        seed: request.seed,
        min_tokens: request.min_tokens.unwrap_or(0),
        ignore_eos: request.ignore_eos.unwrap_or(false),
        fixed: tool_call.as_ref().map(|call| (call.arguments.clone(), FinishReason::ToolCalls)).or(structured),
        stream: streaming,
    };
    let wish = transfer.wish(wish);
    let tokens = transfer.names_tokens().then(|| prompt.clone().into_tokens());
    let mut generation = prompt.received(transfer.received())?.generate(app, &wish).await?;
    let handed_over = transfer.end(app, &mut generation).await?;
    let tool = tool_call.map(|call| (app.id("call_"), call));
    if streaming {
        let include_usage = request.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
        let format = ChatChunks::new(app.id("chatcmpl-"), &name, tool, wish.choices.unwrap_or(1), include_usage);
        return events(EventStream::new(generation, Box::new(format)));
    }
    generation.finish().await;
    let choices: Vec<Value> = generation
        .completions()
        .enumerate()
        .map(|(index, (text, finish))| {
            json!({
                "index": index, "message": answer(text, tool.as_ref()), "logprobs": null,
                "finish_reason": finish.as_str(),
            })
        })
        .collect();
    let mut reply = json!({
        "id": app.id("chatcmpl-"), "object": "chat.completion", "created": now(), "model": name,
        "choices": choices, "usage": generation.usage().to_json(),
    });
    handed_over.add_to(&mut reply, tokens);
    reply_json(&reply)
}

/// The output in the form that the request asks for; `None` for prose.
fn structured(request: &ChatRequest) -> Result<Option<String>, ApiError> {
    let user = request.messages.iter().rfind(|message| message.role == "user");
    let topic = user.map(Message::text).unwrap_or_default();
    request.response_format.as_ref().map_or(Ok(None), |format| format.output(&topic))
}

/// Writes a chat in the manner of a chat template: its tools, its messages, and what makes the model speak.
pub(super) fn write_prompt(prompt: &mut Prompt, tools: &[Tool<'_>], messages: &[Message], opens_answer: bool) {
    for tool in tools {
        prompt.message("tools", &format!("{}{}", tool.name, tool.schema));
    }
    for message in messages {
        prompt.message(&message.role, &message.text());
    }
    if opens_answer {
        prompt.open_answer();
    }
}

/// The functions among the tools.
pub(super) fn functions(tools: Option<&[ChatTool]>) -> Vec<Tool<'_>> {
    let functions = tools.unwrap_or_default().iter().filter_map(|tool| tool.function.as_ref());
    functions.map(|function| Tool { name: &function.name, schema: &function.parameters }).collect()
}

/// Decides whether to call a tool.
fn choose_tool(tools: &[Tool<'_>], request: &ChatRequest) -> Option<ToolCall> {
    let answered = request.messages.last().is_some_and(|message| message.role == "tool");
    let user = request.messages.iter().rfind(|message| message.role == "user");
    decide(tools, request.tool_choice.as_ref(), answered, &user.map(Message::text).unwrap_or_default())
}

fn answer(text: &str, tool: Option<&(String, ToolCall)>) -> Value {
    match tool {
        None => json!({"role": "assistant", "content": text, "refusal": null}),
        Some((id, call)) => json!({
            "role": "assistant", "content": null, "refusal": null,
            "tool_calls": [{
                "id": id, "type": "function", "function": {"name": call.name, "arguments": text},
            }],
        }),
    }
}

/// Chat chunks. The writer makes the part that is the same for all tokens once.
struct ChatChunks {
    /// Up to and with `"choices":[`.
    head: String,
    tool: Option<(String, ToolCall)>,
    choices: u32,
    include_usage: bool,
}

impl ChatChunks {
    fn new(id: String, model: &str, tool: Option<(String, ToolCall)>, choices: u32, include_usage: bool) -> Self {
        let head =
            format!(r#"{{"id":"{id}","object":"chat.completion.chunk","created":{},"model":{},"choices":["#, now(), quoted(model));
        ChatChunks { head, tool, choices, include_usage }
    }

    fn chunk(&self, choice: usize, delta: &str, finish: Option<FinishReason>) -> Bytes {
        let head = &self.head;
        let finish = finish.map_or("null".to_owned(), |reason| quoted(reason.as_str()));
        let usage = if self.include_usage { r#","usage":null"# } else { "" };
        data(&format!(r#"{head}{{"index":{choice},"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]{usage}}}"#))
    }
}

impl Format for ChatChunks {
    fn start(&mut self, _usage: Usage, chunks: &mut VecDeque<Bytes>) {
        let delta = match &self.tool {
            None => r#"{"role":"assistant","content":""}"#.to_owned(),
            Some((id, call)) => json!({
                "role": "assistant", "content": null,
                "tool_calls": [{
                    "index": 0, "id": id, "type": "function", "function": {"name": call.name, "arguments": ""},
                }],
            })
            .to_string(),
        };
        for choice in 0..self.choices {
            chunks.push_back(self.chunk(choice as usize, &delta, None));
        }
    }

    fn token(&mut self, choice: usize, piece: &str, chunks: &mut VecDeque<Bytes>) {
        let piece = quoted(piece);
        let delta = match self.tool {
            None => format!(r#"{{"content":{piece}}}"#),
            Some(_) => format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":{piece}}}}}]}}"#),
        };
        chunks.push_back(self.chunk(choice, &delta, None));
    }

    fn finish(&mut self, choice: usize, reason: FinishReason, chunks: &mut VecDeque<Bytes>) {
        chunks.push_back(self.chunk(choice, "{}", Some(reason)));
    }

    fn end(&mut self, usage: Usage, chunks: &mut VecDeque<Bytes>) {
        if self.include_usage {
            chunks.push_back(data(&format!(r#"{}],"usage":{}}}"#, self.head, usage.to_json())));
        }
        chunks.push_back(Bytes::from_static(DONE));
    }
}
