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
    reply_json(&json!({"object": "list", "data": cards(app)}))
}

/// One of them. Slashes in its name may be escaped.
pub(crate) fn one(app: &Arc<App>, name: &str) -> Reply {
    let name = name.replace("%2F", "/").replace("%2f", "/");
    let card = cards(app).into_iter().find(|card| card["id"] == *name);
    card.map_or_else(|| Err(ApiError::unknown_model(&name)), |card| reply_json(&card))
}

fn cards(app: &Arc<App>) -> Vec<Value> {
    let card = |id: &str, parent: Option<&String>| {
        json!({
            "id": id, "object": "model", "created": app.started, "owned_by": "sim",
            "root": id, "parent": parent, "max_model_len": app.config.context_length(), "permission": [],
        })
    };
    let base = app.config.models.first();
    let mut cards: Vec<Value> = app.config.models.iter().map(|model| card(model, None)).collect();
    cards.extend(app.adapters().iter().map(|adapter| card(adapter, base)));
    cards
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
