//! `POST /v1/images/generations`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, now};
use crate::generation::Prompt;
use crate::reply::{ApiError, Reply, json as reply_json};
use crate::service::Call;

/// Most images in one request.
const MAX_IMAGES: u32 = 10;
/// A PNG of one pixel, in base64.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[derive(Deserialize)]
struct ImageRequest {
    model: Option<String>,
    prompt: String,
    n: Option<u32>,
    size: Option<String>,
    response_format: Option<String>,
}

/// Makes images: of one pixel, whatever size is asked for.
pub(crate) async fn create(app: &Arc<App>, call: &Call) -> Reply {
    let request: ImageRequest = call.json()?;
    let model = app.model(request.model)?;
    let count = request.n.unwrap_or(1);
    if count == 0 || count > MAX_IMAGES {
        return Err(ApiError::bad_request(format!("`n` must be 1 to {MAX_IMAGES}.")));
    }
    let mut prompt = Prompt::new(app, model, None);
    prompt.text(&request.prompt);
    let tokens = prompt.tokens();
    prompt.read(app)?.finished().await;
    let image = match request.response_format.as_deref().unwrap_or("b64_json") {
        "b64_json" => json!({"b64_json": PIXEL}),
        "url" => json!({"url": format!("data:image/png;base64,{PIXEL}")}),
        _ => return Err(ApiError::bad_request("`response_format` must be b64_json or url.")),
    };
    let data: Vec<Value> = vec![image; count as usize];
    reply_json(&json!({
        "created": now(), "data": data, "output_format": "png", "size": request.size.as_deref().unwrap_or("1024x1024"),
        "usage": {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens},
    }))
}
