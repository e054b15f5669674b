//! TensorRT-LLM's protocol: the reply to a request for the context says what the one for the generation has to.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::{Handover, Members, Transfer, exchange};
use crate::app::App;
use crate::config::KvTransfer;
use crate::reply::ApiError;
use crate::tokenizer::hash_bytes;

/// `disaggregated_params`; unknown members are refused, as there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    request_type: String,
    disagg_request_id: Option<u64>,
    ctx_request_id: Option<u64>,
    encoded_opaque_state: Option<String>,
    #[serde(rename = "first_gen_tokens")]
    _first_tokens: Option<Vec<u32>>,
    #[serde(rename = "draft_tokens")]
    _draft_tokens: Option<Vec<u32>>,
    #[serde(rename = "ctx_dp_rank")]
    _rank: Option<u32>,
    #[serde(rename = "ctx_info_endpoint")]
    _endpoint: Option<String>,
}

/// A request for the context alone.
pub(crate) struct Context {
    disagg_request_id: Option<u64>,
}

/// A request's part: its prompt is held for another engine, or comes from one.
pub(super) async fn begin(app: &Arc<App>, settings: &KvTransfer, members: &Members) -> Result<Transfer, ApiError> {
    let Some(params) = &members.disaggregated_params else { return Ok(Transfer::None) };
    match params.request_type.as_str() {
        "context_only" => Ok(Transfer::Context(Context { disagg_request_id: params.disagg_request_id })),
        "generation_only" => {
            let state = params.encoded_opaque_state.as_deref().and_then(|state| state.strip_prefix("sim "));
            let parts: Option<Vec<_>> = state.map(|state| state.splitn(3, ' ').collect());
            let (Some([host, port, engine]), Some(request)) = (parts.as_deref(), params.ctx_request_id) else {
                return Err(ApiError::bad_request("disaggregated_params have no state of the context."));
            };
            let port = port.parse().map_err(|_| ApiError::bad_request("the state of the context names no port."))?;
            let question = json!({"engine_id": engine, "request_id": request.to_string()});
            let tokens = exchange::ask(host, port, "/sim/kv/fetch", &question, settings.timeout()).await?;
            Transfer::arrived(app, settings, tokens).await
        }
        other => Err(ApiError::bad_request(format!("Unknown request type: {other}."))),
    }
}

impl Context {
    /// Holds the prompt; gives the reply's `disaggregated_params`.
    pub(super) fn hold(self, app: &App, tokens: u32) -> Result<Handover, ApiError> {
        let request = hash_bytes(app.id("ctx-").as_bytes()) >> 1;
        app.transfers.held.put(&request.to_string(), tokens)?;
        let address = app.transfers.address.get().copied().unwrap_or(app.config.listen);
        let state = format!("sim {} {} {}", address.ip(), address.port(), app.config.name);
        Ok(Handover::Context(json!({
            "request_type": "context_only", "first_gen_tokens": [1], "ctx_request_id": request, "encoded_opaque_state": state,
            "draft_tokens": null, "disagg_request_id": self.disagg_request_id, "ctx_dp_rank": 0, "ctx_info_endpoint": null,
        })))
    }
}
