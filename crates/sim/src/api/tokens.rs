//! `POST /tokenize` and `/detokenize`, and the prompts of requests as tokens: `POST /v1/chat/completions/render` and
//! `/v1/completions/render`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::chat::{ChatTool, Message, functions, write_prompt};
use crate::api::completions::Input;
use crate::app::{App, Model};
use crate::generation::Prompt;
use crate::reply::{ApiError, Reply, json as reply_json};
use crate::service::Call;
use crate::tokenizer::detokenize;

#[derive(Deserialize)]
struct TokenizeRequest {
    model: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    tools: Option<Vec<ChatTool>>,
    add_generation_prompt: Option<bool>,
    add_special_tokens: Option<bool>,
    return_token_strs: Option<bool>,
}

#[derive(Deserialize)]
struct DetokenizeRequest {
    model: Option<String>,
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct ChatToRender {
    model: Option<String>,
    messages: Vec<Message>,
    tools: Option<Vec<ChatTool>>,
    add_generation_prompt: Option<bool>,
    cache_salt: Option<String>,
}

#[derive(Deserialize)]
struct CompletionToRender {
    model: Option<String>,
    prompt: Input,
    add_special_tokens: Option<bool>,
    cache_salt: Option<String>,
}

/// The token ids of a text, or of a chat, as the engine computes them.
pub(crate) fn tokenize(app: &Arc<App>, call: &Call) -> Reply {
    let request: TokenizeRequest = call.json()?;
    let model = app.model(request.model)?;
    let ids = match (request.prompt, request.messages) {
        (Some(prompt), None) => tokens_of_text(app, model, (&prompt, request.add_special_tokens))?,
        (None, Some(messages)) => {
            let opens_answer = request.add_generation_prompt.unwrap_or(true);
            tokens_of_chat(app, model, (call, request.tools.as_deref()), &messages, opens_answer)?
        }
        _ => return Err(ApiError::bad_request("Either `prompt` or `messages` must be given.")),
    };
    let text = |id: &u32| detokenize(&[*id]).unwrap_or_else(|| format!("<|{id:08x}|>"));
    let strings = request.return_token_strs.unwrap_or(false).then(|| ids.iter().map(text).collect::<Vec<_>>());
    reply_json(&json!({
        "count": ids.len(), "max_model_len": app.config.context_length(), "tokens": ids, "token_strs": strings,
    }))
}

/// A chat's prompt as tokens.
pub(crate) fn render_chat(app: &Arc<App>, call: &Call) -> Reply {
    let request: ChatToRender = call.json()?;
    let model = app.model(request.model)?;
    let opens_answer = request.add_generation_prompt.unwrap_or(true);
    let ids = tokens_of_chat(app, model, (call, request.tools.as_deref()), &request.messages, opens_answer)?;
    reply_json(&rendered(&ids, request.cache_salt.as_deref()))
}

/// A completion's prompts as tokens.
pub(crate) fn render_completion(app: &Arc<App>, call: &Call) -> Reply {
    let request: CompletionToRender = call.json()?;
    let model = app.model(request.model)?;
    let texts = request.prompt.texts()?;
    let salt = request.cache_salt.as_deref();
    let tokens = |text: &String| tokens_of_text(app, model.clone(), (text, request.add_special_tokens));
    let prompts = texts.iter().map(|text| Ok(rendered(&tokens(text)?, salt)));
    reply_json(&prompts.collect::<Result<Value, ApiError>>()?)
}

fn rendered(ids: &[u32], cache_salt: Option<&str>) -> Value {
    json!({"token_ids": ids, "features": null, "sampling_params": {}, "cache_salt": cache_salt})
}

fn tokens_of_text(app: &App, model: Model, (text, adds_special_tokens): (&str, Option<bool>)) -> Result<Vec<u32>, ApiError> {
    let mut prompt = Prompt::readable(app, model);
    prompt.add_text(app, text, adds_special_tokens)?;
    Ok(prompt.into_tokens())
}

fn tokens_of_chat(
    app: &App,
    model: Model,
    (call, tools): (&Call, Option<&[ChatTool]>),
    messages: &[Message],
    opens_answer: bool,
) -> Result<Vec<u32>, ApiError> {
    let mut prompt = Prompt::readable(app, model);
    if !prompt.add_from_files(app, &call.body)? {
        write_prompt(&mut prompt, &functions(tools), messages, opens_answer);
    }
    Ok(prompt.into_tokens())
}

/// The text of token ids.
pub(crate) fn untokenize(app: &Arc<App>, call: &Call) -> Reply {
    let request: DetokenizeRequest = call.json()?;
    app.model(request.model)?;
    match detokenize(&request.tokens) {
        Some(prompt) => reply_json(&json!({"prompt": prompt})),
        None => Err(ApiError::bad_request("The token ids do not stand for any text.")),
    }
}
