//! The protocol of vLLM's MooncakeConnector: both parts come at once, and the engine that decodes pulls the prompt when it is there.

use std::sync::Arc;

use serde_json::json;

use super::{Members, Transfer, exchange};
use crate::app::App;
use crate::config::{KvConnector, KvTransfer, Role};
use crate::reply::{ApiError, Reply, json as reply_json};
use crate::tokenizer::hash_bytes;

/// A request's part: its prompt is offered to another engine, or comes from one.
pub(super) async fn begin(app: &Arc<App>, settings: &KvTransfer, members: &Members) -> Result<Transfer, ApiError> {
    let Some(params) = members.kv_transfer_params.as_ref().filter(|params| params.do_remote_decode || params.do_remote_prefill)
    else {
        return Ok(Transfer::None);
    };
    let Some(id) = &params.transfer_id else { return Err(ApiError::bad_request("kv_transfer_params have no transfer_id.")) };
    let room = hash_bytes(id.as_bytes());
    if params.do_remote_decode {
        return Ok(Transfer::Offered(app.transfers.rooms.open(room)?));
    }
    let address = params.remote_bootstrap_addr.as_deref().and_then(|address| address.strip_prefix("http://")?.rsplit_once(':'));
    let address = address.and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)));
    let Some(((host, port), engine)) = address.zip(params.remote_engine_id.as_ref()) else {
        return Err(ApiError::bad_request("kv_transfer_params do not say which engine has the prompt."));
    };
    let question = json!({"room": room, "engine_id": engine});
    let tokens = exchange::ask(host, port, "/sim/kv/join", &question, settings.timeout()).await?;
    Transfer::arrived(app, settings, tokens).await
}

/// `GET /query` of the bootstrap server: the engine of each data-parallel rank.
pub(crate) fn query(app: &App) -> Option<Reply> {
    let settings = app.config.kv_transfer.as_ref()?;
    if settings.connector != KvConnector::Mooncake || settings.role == Role::Decode {
        return None;
    }
    Some(reply_json(&json!({"0": {"engine_id": app.config.name, "worker_addr": {}}})))
}
