//! `POST /v1/completions`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::chat::StreamOptions;
use crate::app::{App, now};
use crate::generation::{Prompt, Stop, Usage, Wish};
use crate::kv_transfer::Transfer;
use crate::reply::{ApiError, Reply, events, json as reply_json};
use crate::service::Call;
use crate::sse::{DONE, EventStream, Format, data, quoted};
use crate::text::FinishReason;
use crate::tokenizer::detokenize;

/// Tokens that OpenAI's API generates by default.
const DEFAULT_MAX_TOKENS: u32 = 16;

#[derive(Deserialize)]
struct CompletionRequest {
    model: Option<String>,
    prompt: Input,
    max_tokens: Option<u32>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    #[serde(default)]
    stop: Stop,
    seed: Option<i64>,
    echo: Option<bool>,
    cache_salt: Option<String>,
    ignore_eos: Option<bool>,
    min_tokens: Option<u32>,
    add_special_tokens: Option<bool>,
}

/// Text or token ids, once or several times.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Input {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

impl Input {
    /// The texts; ids that stand for no text are refused.
    pub(super) fn texts(self) -> Result<Vec<String>, ApiError> {
        let decode =
            |ids: Vec<u32>| detokenize(&ids).ok_or_else(|| ApiError::bad_request("The token ids do not stand for any text."));
        match self {
            Input::Text(text) => Ok(vec![text]),
            Input::Texts(texts) => Ok(texts),
            Input::Tokens(ids) => Ok(vec![decode(ids)?]),
            Input::TokenLists(lists) => lists.into_iter().map(decode).collect(),
        }
    }
}

/// Completes a text, whole or as a stream.
pub(crate) async fn create(app: &Arc<App>, call: &Call) -> Reply {
    let request: CompletionRequest = call.json()?;
    let model = app.model(request.model)?;
    let name = model.name.clone();
    let texts = request.prompt.texts()?;
    let [text] = texts.as_slice() else {
        return Err(ApiError::bad_request("Exactly one prompt is supported."));
    };
    let transfer = Transfer::begin(app, call).await?;
    let mut prompt = Prompt::new(app, model, request.cache_salt.as_deref());
    prompt.add_text(app, text, request.add_special_tokens)?;
    let streaming = request.stream.unwrap_or(false);
    let wish = Wish {
        max_tokens: Some(request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS)),
        stop: request.stop.into(),
        choices: request.n,
        seed: request.seed,
        min_tokens: request.min_tokens.unwrap_or(0),
        ignore_eos: request.ignore_eos.unwrap_or(false),
        fixed: None,
        stream: streaming,
    };
    let prefix = if request.echo.unwrap_or(false) { text.as_str() } else { "" };
    let wish = transfer.wish(wish);
    let tokens = transfer.names_tokens().then(|| prompt.clone().into_tokens());
    let mut generation = prompt.received(transfer.received())?.generate(app, &wish).await?;
    let handed_over = transfer.end(app, &mut generation).await?;
    if streaming {
        let head = format!(
            r#"{{"id":"{}","object":"text_completion","created":{},"model":{},"choices":["#,
            app.id("cmpl-"),
            now(),
            quoted(&name)
        );
        let include_usage = request.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
        let format = CompletionChunks { head, prefix: prefix.to_owned(), choices: wish.choices.unwrap_or(1), include_usage };
        return events(EventStream::new(generation, Box::new(format)));
    }
    generation.finish().await;
    let choices: Vec<Value> = generation
        .completions()
        .enumerate()
        .map(|(index, (text, finish))| {
            json!({
                "index": index, "text": format!("{prefix}{text}"), "logprobs": null,
                "finish_reason": finish.as_str(),
            })
        })
        .collect();
    let mut reply = json!({
        "id": app.id("cmpl-"), "object": "text_completion", "created": now(), "model": name,
        "choices": choices, "usage": generation.usage().to_json(),
    });
    handed_over.add_to(&mut reply, tokens);
    reply_json(&reply)
}

struct CompletionChunks {
    /// Up to and with `"choices":[`.
    head: String,
    /// The prompt, if it is to be repeated.
    prefix: String,
    choices: u32,
    include_usage: bool,
}

impl CompletionChunks {
    fn chunk(&self, choice: usize, text: &str, finish: Option<FinishReason>) -> Bytes {
        let (head, text) = (&self.head, quoted(text));
        let finish = finish.map_or("null".to_owned(), |reason| quoted(reason.as_str()));
        let usage = if self.include_usage { r#","usage":null"# } else { "" };
        data(&format!(r#"{head}{{"index":{choice},"text":{text},"logprobs":null,"finish_reason":{finish}}}]{usage}}}"#))
    }
}

impl Format for CompletionChunks {
    fn start(&mut self, _usage: Usage, chunks: &mut VecDeque<Bytes>) {
        if self.prefix.is_empty() {
            return;
        }
        for choice in 0..self.choices {
            chunks.push_back(self.chunk(choice as usize, &self.prefix, None));
        }
    }

    fn token(&mut self, choice: usize, piece: &str, chunks: &mut VecDeque<Bytes>) {
        chunks.push_back(self.chunk(choice, piece, None));
    }

    fn finish(&mut self, choice: usize, reason: FinishReason, chunks: &mut VecDeque<Bytes>) {
        chunks.push_back(self.chunk(choice, "", Some(reason)));
    }

    fn end(&mut self, usage: Usage, chunks: &mut VecDeque<Bytes>) {
        if self.include_usage {
            chunks.push_back(data(&format!(r#"{}],"usage":{}}}"#, self.head, usage.to_json())));
        }
        chunks.push_back(Bytes::from_static(DONE));
    }
}
