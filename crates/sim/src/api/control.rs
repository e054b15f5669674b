//! `/sim/…`: the simulator's own endpoints; and vLLM's `/reset_prefix_cache`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::app::App;
use crate::faults::Fault;
use crate::reply::{ApiError, Reply, json as reply_json};
use crate::service::Call;

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<serde_json::Value>),
    One(serde_json::Value),
}

/// `/sim/faults`: GET lists, POST adds one or several, PUT replaces all, DELETE clears. The answer is what holds then.
pub(crate) fn faults(app: &Arc<App>, call: &Call) -> Reply {
    let faults = &app.faults;
    match call.head.method {
        Method::GET => {}
        Method::DELETE => faults.clear(),
        Method::PUT => faults.set(parse(call)?),
        Method::POST => {
            for fault in parse(call)? {
                if !faults.add(fault) {
                    return Err(ApiError::bad_request("There are too many faults already."));
                }
            }
        }
        _ => {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(ApiError::new(status, "MethodNotAllowed", "Use GET, POST, PUT or DELETE."));
        }
    }
    reply_json(&json!({"faults": faults.list()}))
}

fn parse(call: &Call) -> Result<Vec<Fault>, ApiError> {
    let values = match call.json()? {
        OneOrMany::Many(values) => values,
        OneOrMany::One(value) => vec![value],
    };
    // Decoded one by one, for the message to name what is wrong with the fault.
    let decode = |value| serde_json::from_value(value);
    let faults: Result<_, serde_json::Error> = values.into_iter().map(decode).collect();
    faults.map_err(|error| ApiError::bad_request(format!("Invalid fault: {error}.")))
}

/// `POST /reset_prefix_cache`: empties the cache; 409 while requests are computed.
pub(crate) fn reset_cache(app: &Arc<App>) -> Reply {
    if app.driver.reset_cache() {
        return reply_json(&json!({}));
    }
    Err(ApiError::new(StatusCode::CONFLICT, "Conflict", "Requests hold blocks of the cache."))
}

/// `GET /sim/stats`.
pub(crate) fn stats(app: &Arc<App>) -> Reply {
    let counters = &app.counters;
    let stats = app.driver.observe(|state| {
        json!({
            "server": app.config.name,
            "requests": counters.requests.load(Ordering::Relaxed),
            "aborts": state.recorder.aborts,
            "running": state.engine.running(),
            "waiting": state.engine.waiting(),
            "kv_usage": state.engine.kv_usage(),
            "kv_received": app.transfers.received(),
            "kv_sent": app.transfers.sent(),
            "kv_held": app.transfers.held(),
            "connections": counters.connections.load(Ordering::Relaxed),
            "open_connections": counters.open_connections.load(Ordering::Relaxed),
        })
    });
    reply_json(&stats)
}
