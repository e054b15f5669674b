//! `POST /tokenize` and `/detokenize`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::api::chat::Message;
use crate::app::App;
use crate::reply::{ApiError, Reply, json as reply_json};
use crate::service::Call;
use crate::tokenizer::{detokenize, token_id, tokens};

#[derive(Deserialize)]
struct TokenizeRequest {
    model: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    return_token_strs: Option<bool>,
}

#[derive(Deserialize)]
struct DetokenizeRequest {
    model: Option<String>,
    tokens: Vec<u32>,
}

/// The token ids of a text, or of a chat's messages without its template.
pub(crate) fn tokenize(app: &Arc<App>, call: &Call) -> Reply {
    let request: TokenizeRequest = call.json()?;
    app.model(request.model)?;
    let texts = match (request.prompt, request.messages) {
        (Some(prompt), None) => vec![prompt],
        (None, Some(messages)) => messages.iter().map(Message::text).collect(),
        _ => return Err(ApiError::bad_request("Either `prompt` or `messages` must be given.")),
    };
    let pieces: Vec<&str> = texts.iter().flat_map(|text| tokens(text)).collect();
    let ids: Vec<u32> = pieces.iter().map(|piece| token_id(piece)).collect();
    let strings = request.return_token_strs.unwrap_or(false).then_some(&pieces);
    reply_json(&json!({
        "count": ids.len(), "max_model_len": app.config.context_length(), "tokens": ids, "token_strs": strings,
    }))
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
