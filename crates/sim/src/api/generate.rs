//! `POST /inference/v1/generate`: vLLM's API of tokens for tokens.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::generation::{Prompt, Usage, Wish};
use crate::kv_transfer::Transfer;
use crate::reply::{ApiError, Reply, events, json as reply_json};
use crate::service::Call;
use crate::sse::{DONE, EventStream, Format, data};
use crate::text::FinishReason;
use crate::tokenizer::{token_id, tokens};

#[derive(Deserialize)]
struct GenerateRequest {
    model: Option<String>,
    token_ids: Vec<u32>,
    sampling_params: SamplingParams,
    stream: Option<bool>,
    cache_salt: Option<String>,
}

#[derive(Deserialize)]
struct SamplingParams {
    max_tokens: Option<u32>,
    min_tokens: Option<u32>,
    ignore_eos: Option<bool>,
    seed: Option<i64>,
    n: Option<u32>,
}

/// Generates, whole or as a stream.
pub(crate) async fn create(app: &Arc<App>, call: &Call) -> Reply {
    let request: GenerateRequest = call.json()?;
    let model = app.model(request.model)?;
    if request.token_ids.is_empty() {
        return Err(ApiError::bad_request("`token_ids` must not be empty."));
    }
    let transfer = Transfer::begin(app, call).await?;
    let mut prompt = Prompt::new(app, model, request.cache_salt.as_deref());
    prompt.ids(&request.token_ids);
    let settings = request.sampling_params;
    let streaming = request.stream.unwrap_or(false);
    let wish = Wish {
        max_tokens: settings.max_tokens,
        choices: settings.n,
        seed: settings.seed,
        min_tokens: settings.min_tokens.unwrap_or(0),
        ignore_eos: settings.ignore_eos.unwrap_or(false),
        stream: streaming,
        ..Wish::default()
    };
    let mut generation = prompt.received(transfer.received())?.generate(app, &wish).await?;
    let handed_over = transfer.end(app, &mut generation).await?;
    let id = app.id("gen-");
    if streaming {
        return events(EventStream::new(generation, Box::new(Chunks { id })));
    }
    generation.finish().await;
    let completions = generation.completions().enumerate();
    let choices = completions.map(|(index, (text, finish))| choice(index, text, Some(finish)));
    let mut reply = json!({"request_id": id, "choices": choices.collect::<Vec<_>>(), "prompt_logprobs": null});
    handed_over.add_to(&mut reply, None);
    reply_json(&reply)
}

fn choice(index: usize, text: &str, finish: Option<FinishReason>) -> Value {
    let ids: Vec<u32> = tokens(text).map(token_id).collect();
    json!({"index": index, "token_ids": ids, "logprobs": null, "finish_reason": finish.map(FinishReason::as_str)})
}

struct Chunks {
    id: String,
}

impl Chunks {
    fn chunk(&self, index: usize, text: &str, finish: Option<FinishReason>) -> Bytes {
        data(&json!({"request_id": self.id, "choices": [choice(index, text, finish)]}).to_string())
    }
}

impl Format for Chunks {
    fn start(&mut self, _usage: Usage, _chunks: &mut VecDeque<Bytes>) {}

    fn token(&mut self, choice: usize, piece: &str, chunks: &mut VecDeque<Bytes>) {
        chunks.push_back(self.chunk(choice, piece, None));
    }

    fn finish(&mut self, choice: usize, reason: FinishReason, chunks: &mut VecDeque<Bytes>) {
        chunks.push_back(self.chunk(choice, "", Some(reason)));
    }

    fn end(&mut self, _usage: Usage, chunks: &mut VecDeque<Bytes>) {
        chunks.push_back(Bytes::from_static(DONE));
    }
}
