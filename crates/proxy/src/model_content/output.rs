//! Messages of a response, as it comes: a document, or events.

use pailou_ai::sse::{MAX_EVENT, SseReader};
use serde_json::Value;

use super::{
    MAX_BODY, MAX_MESSAGES, MAX_TEXT, Message, Part,
    parts::{of_content, of_part, of_tool_calls, reasoning, text, text_part},
};

/// Most choices, and calls of tools of each, that are kept of a stream.
const MAX_PIECES: usize = 16;

/// Most bytes of texts of one kind that are kept of a stream: a little more than is shown, lest a credential is cut before it is known.
const MAX_KEPT: usize = MAX_TEXT + (4 << 10);

/// Reads a response.
#[derive(Default)]
pub(super) struct OutputReader {
    document: Vec<u8>,
    events: Option<SseReader>,
    choices: Vec<Choice>,
    /// The whole response, where the last event has it.
    whole: Option<Vec<Message>>,
    /// Bytes of texts that are kept: of the answer, of the reasoning, of tools' calls.
    kept: [usize; 3],
}

/// Parts of one choice that events have had.
#[derive(Default)]
struct Choice {
    reasoning: String,
    text: String,
    tools: Vec<Tool>,
    finish_reason: Option<String>,
}

#[derive(Default)]
struct Tool {
    /// Its number in the stream.
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

impl OutputReader {
    pub(super) fn feed(&mut self, data: &[u8], is_event_stream: bool) {
        if is_event_stream {
            let mut events = self.events.take().unwrap_or_else(|| SseReader::new(MAX_EVENT));
            events.feed(data, |event| {
                // `[DONE]` is no JSON.
                if let Ok(value) = serde_json::from_slice::<Value>(event.data) {
                    self.event(&value);
                }
            });
            self.events = Some(events);
        } else if self.document.len() <= MAX_BODY {
            // One byte beyond the bound says that it is too long.
            let room = (MAX_BODY + 1).saturating_sub(self.document.len());
            self.document.extend_from_slice(&data[..data.len().min(room)]);
        }
    }

    /// Messages so far.
    pub(super) fn messages(&self) -> Vec<Message> {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        if self.events.is_some() {
            return self.choices.iter().map(Choice::message).collect();
        }
        if self.document.len() > MAX_BODY {
            return Vec::new();
        }
        serde_json::from_slice(&self.document).map_or_else(|_| Vec::new(), |document| of_document(&document))
    }

    fn event(&mut self, event: &Value) {
        for chunk in event["choices"].as_array().into_iter().flatten() {
            let delta = &chunk["delta"];
            let number = chunk["index"].as_u64().unwrap_or_default();
            self.add_text(number, delta["content"].as_str().or(chunk["text"].as_str()));
            self.add_reasoning(number, delta["reasoning_content"].as_str().or(delta["reasoning"].as_str()));
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let function = &call["function"];
                let index = call["index"].as_u64().unwrap_or_default();
                self.tool(number, index, [&call["id"], &function["name"], &function["arguments"]]);
            }
            self.finish(number, &chunk["finish_reason"]);
        }
        let index = event["index"].as_u64().unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "content_block_start" if event["content_block"]["type"] == "tool_use" => {
                let block = &event["content_block"];
                self.tool(0, index, [&block["id"], &block["name"], &Value::Null]);
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                self.add_text(0, delta["text"].as_str());
                self.add_reasoning(0, delta["thinking"].as_str());
                if delta["partial_json"].is_string() {
                    self.tool(0, index, [&Value::Null, &Value::Null, &delta["partial_json"]]);
                }
            }
            "message_delta" => self.finish(0, &event["delta"]["stop_reason"]),
            "response.output_text.delta" => self.add_text(0, event["delta"].as_str()),
            "response.completed" | "response.incomplete" => self.whole = Some(of_document(&event["response"])),
            _ => {}
        }
    }

    fn choice(&mut self, number: u64) -> Option<&mut Choice> {
        let number = usize::try_from(number).ok().filter(|number| *number < MAX_PIECES)?;
        if self.choices.len() <= number {
            self.choices.resize_with(number + 1, Choice::default);
        }
        self.choices.get_mut(number)
    }

    fn add_text(&mut self, number: u64, text: Option<&str>) {
        let text = take(&mut self.kept[0], text.unwrap_or_default());
        if !text.is_empty()
            && let Some(choice) = self.choice(number)
        {
            choice.text.push_str(text);
        }
    }

    fn add_reasoning(&mut self, number: u64, text: Option<&str>) {
        let text = take(&mut self.kept[1], text.unwrap_or_default());
        if !text.is_empty()
            && let Some(choice) = self.choice(number)
        {
            choice.reasoning.push_str(text);
        }
    }

    fn tool(&mut self, number: u64, index: u64, [id, name, arguments]: [&Value; 3]) {
        let kept = &mut self.kept[2];
        let texts = [id, name, arguments].map(|value| take(kept, value.as_str().unwrap_or_default()));
        let Some(choice) = self.choice(number) else { return };
        let known = choice.tools.iter().position(|tool| tool.index == index);
        if known.is_none() && choice.tools.len() < MAX_PIECES {
            choice.tools.push(Tool { index, ..Tool::default() });
        }
        if let Some(tool) = choice.tools.iter_mut().find(|tool| tool.index == index) {
            for (place, text) in [&mut tool.id, &mut tool.name, &mut tool.arguments].into_iter().zip(texts) {
                place.push_str(text);
            }
        }
    }

    fn finish(&mut self, number: u64, reason: &Value) {
        if let (Some(reason), Some(choice)) = (reason.as_str(), self.choice(number)) {
            choice.finish_reason = Some(reason[..reason.floor_char_boundary(64)].to_owned());
        }
    }
}

/// The text as far as there is room for it.
fn take<'t>(kept: &mut usize, text: &'t str) -> &'t str {
    let text = &text[..text.floor_char_boundary(MAX_KEPT.saturating_sub(*kept))];
    *kept += text.len();
    text
}

impl Choice {
    fn message(&self) -> Message {
        let texts = [(&self.reasoning, reasoning as fn(&str) -> Part), (&self.text, text_part)];
        let texts = texts.into_iter().filter(|(text, _)| !text.is_empty()).map(|(text, part)| part(text));
        let tools = self.tools.iter().map(|tool| Part::ToolCall {
            id: tool.id.clone(),
            name: tool.name.clone(),
            arguments: tool.arguments.clone(),
        });
        Message { role: "assistant".to_owned(), parts: texts.chain(tools).collect(), finish_reason: self.finish_reason.clone() }
    }
}

/// Messages of a whole response.
fn of_document(document: &Value) -> Vec<Message> {
    let of_reason = |reason: &Value| reason.as_str().map(str::to_owned);
    if let Value::Array(choices) = &document["choices"] {
        let message = |choice: &Value| {
            let message = &choice["message"];
            let thought = message["reasoning_content"].as_str().map(reasoning);
            let content = of_content(if message.is_object() { &message["content"] } else { &choice["text"] });
            let parts = thought.into_iter().chain(content).chain(of_tool_calls(&message["tool_calls"])).collect();
            Message { role: "assistant".to_owned(), parts, finish_reason: of_reason(&choice["finish_reason"]) }
        };
        return choices.iter().take(MAX_MESSAGES).map(message).collect();
    }
    let parts: Vec<Part> = match (&document["content"], &document["output"]) {
        (Value::Array(parts), _) => parts.iter().map(of_part).collect(),
        (_, Value::Array(items)) => items.iter().flat_map(of_item).collect(),
        _ => return Vec::new(),
    };
    let finish_reason = of_reason(&document["stop_reason"]).or_else(|| of_reason(&document["status"]));
    vec![Message { role: "assistant".to_owned(), parts, finish_reason }]
}

/// Parts of an item of OpenAI's responses.
fn of_item(item: &Value) -> Vec<Part> {
    match item["type"].as_str() {
        Some("message") => of_content(&item["content"]),
        Some("function_call") => {
            vec![Part::ToolCall { id: text(&item["call_id"]), name: text(&item["name"]), arguments: text(&item["arguments"]) }]
        }
        Some("reasoning") => item["summary"].as_array().into_iter().flatten().map(|part| reasoning(&text(&part["text"]))).collect(),
        _ => vec![of_part(item)],
    }
}
