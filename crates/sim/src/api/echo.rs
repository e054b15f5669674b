//! Echo of the received request: for tests of a gateway's changes.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};

use crate::app::App;
use crate::reply::{Reply, json as reply_json};
use crate::service::Call;
use crate::tokenizer::hash_bytes;

/// Largest body in an echo, in bytes.
const MAX_ECHOED: usize = 16 << 10;

/// `GET|POST /echo`, and any request with the header `x-sim-echo`.
pub(crate) fn echo(app: &Arc<App>, call: &Call, trailers: Option<&HeaderMap>) -> Reply {
    let uri = &call.head.uri;
    let small = (call.body.len() <= MAX_ECHOED).then(|| std::str::from_utf8(&call.body).ok()).flatten();
    let tls = call.link.tls.as_ref();
    reply_json(&json!({
        "server": app.config.name,
        "method": call.head.method.as_str(),
        "path": uri.path_and_query().map_or("/", |path| path.as_str()),
        "authority": uri.authority().map(|authority| authority.as_str()),
        "scheme": uri.scheme_str(),
        "http_version": format!("{:?}", call.head.version),
        "peer": call.link.peer.to_string(),
        "tls": tls.is_some(),
        "sni": tls.and_then(|facts| facts.server_name.as_deref()),
        "alpn": tls.and_then(|facts| facts.alpn.as_deref()),
        "headers": pairs(&call.head.headers),
        "trailers": trailers.map(pairs),
        "body_length": call.body.len(),
        "body_fnv1a64": format!("{:016x}", hash_bytes(&call.body)),
        "body": small,
    }))
}

/// Names and values in order of arrival, as far as the header map keeps it; bytes that are not text are replaced.
fn pairs(headers: &HeaderMap) -> Vec<[Value; 2]> {
    headers.iter().map(|(name, value)| [name.as_str().into(), String::from_utf8_lossy(value.as_bytes()).into()]).collect()
}
