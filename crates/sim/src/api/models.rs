//! `GET /v1/models`, and loading and unloading of adapters.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::reply::{ApiError, Reply, json as reply_json, with_type};
use crate::service::Call;

/// All models, then all adapters.
pub(crate) fn list(app: &Arc<App>) -> Reply {
    let card = |id: &str, parent: Option<&String>| {
        json!({
            "id": id, "object": "model", "created": app.started, "owned_by": "sim",
            "root": id, "parent": parent, "max_model_len": app.config.context_length(), "permission": [],
        })
    };
    let base = app.config.models.first();
    let mut data: Vec<Value> = app.config.models.iter().map(|model| card(model, None)).collect();
    data.extend(app.adapters().iter().map(|adapter| card(adapter, base)));
    reply_json(&json!({"object": "list", "data": data}))
}

#[derive(Deserialize)]
struct AdapterRequest {
    lora_name: String,
    lora_path: Option<String>,
}

/// `POST /v1/load_lora_adapter`.
pub(crate) fn load_adapter(app: &App, call: &Call) -> Reply {
    let request: AdapterRequest = call.json()?;
    if request.lora_name.is_empty() || request.lora_path.is_none_or(|path| path.is_empty()) {
        return Err(ApiError::bad_request("Both `lora_name` and `lora_path` must be given."));
    }
    app.load_adapter(&request.lora_name)?;
    Ok(done(&request.lora_name, "added"))
}

/// `POST /v1/unload_lora_adapter`.
pub(crate) fn unload_adapter(app: &App, call: &Call) -> Reply {
    let request: AdapterRequest = call.json()?;
    app.unload_adapter(&request.lora_name)?;
    Ok(done(&request.lora_name, "removed"))
}

fn done(name: &str, what: &str) -> http::Response<crate::reply::Body> {
    with_type(StatusCode::OK, "text/plain; charset=utf-8", format!("Success: adapter '{name}' {what}."))
}
