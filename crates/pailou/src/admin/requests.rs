//! Paths of the admin endpoint that tell of single requests: receipts and explanations. Behind the [guard](crate::admin::guard).

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Response, StatusCode, body::Incoming, http::request::Parts};
use pailou_auth::Condition;
use pailou_proxy::{Proxy, explanation::MAX_BODY, receipts::MAX_TRACERS};
use tokio::time;

use super::{
    body::AdminBody,
    query,
    receipts_page::{self, ReceiptQuery},
    response::{content, json, only, sentence, text},
    state::pretty,
};

/// Longest document of a request to explain, in bytes: its body with escapes, and its headers.
pub(super) const MAX_DOCUMENT: usize = 2 * MAX_BODY;
/// Longest wait of an operator for a request: less than a connection may live.
pub(super) const TRACE_TIMEOUT: Duration = Duration::from_secs(240);
/// Time within which it is to come.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a path tells of single requests.
pub(crate) fn is_of_requests(path: &str) -> bool {
    path == "/receipts" || path == "/explain" || path.starts_with("/receipts/")
}

/// Answers a request that was admitted.
pub(crate) async fn answer(head: &Parts, body: Incoming, proxy: &Arc<Proxy>) -> Response<AdminBody> {
    match head.uri.path() {
        "/explain" => explain(head, body, proxy).await,
        "/receipts/next" if head.method == Method::GET && proxy.receipts().is_on() => next(head, proxy).await,
        _ => receipts(head, proxy),
    }
}

/// Waits for the receipt of the next request that meets an expression.
async fn next(head: &Parts, proxy: &Arc<Proxy>) -> Response<AdminBody> {
    let expression = query::long_value(head.uri.query().unwrap_or_default(), "expression").unwrap_or_default();
    let expression = if expression.is_empty() { "true" } else { &expression };
    let condition = match Condition::parse(expression) {
        Ok(condition) if condition.has_loop() => {
            return text(
                StatusCode::BAD_REQUEST,
                "every request would be gone through: do without all, exists, exists_one, filter and map\n",
            );
        }
        Ok(condition) => condition,
        Err(error) => return sentence(StatusCode::BAD_REQUEST, &error),
    };
    let Some(trace) = proxy.receipts().trace(condition) else {
        return sentence(StatusCode::SERVICE_UNAVAILABLE, &format_args!("{MAX_TRACERS} wait for a request already"));
    };
    match time::timeout(TRACE_TIMEOUT, trace.receipt()).await {
        Ok(Some(receipt)) => json(format!("{}\n", receipt.to_json())),
        Ok(None) | Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "no such request has come and ended within 4 minutes\n"),
    }
}

/// Explains a request that nobody sends.
async fn explain(head: &Parts, body: Incoming, proxy: &Arc<Proxy>) -> Response<AdminBody> {
    if head.method != Method::POST {
        return only("POST");
    }
    let collected = time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_DOCUMENT).collect()).await;
    let Ok(Ok(document)) = collected else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "the document is too large, or too slow\n");
    };
    let Ok(request) = serde_json::from_slice(&document.to_bytes()) else {
        return text(StatusCode::BAD_REQUEST, "no request: {\"method\", \"url\", \"headers\": [[name, value]], \"body\"}\n");
    };
    match proxy.explain(&request) {
        Ok(Some(explanation)) => json(pretty(&explanation)),
        Ok(None) => text(StatusCode::SERVICE_UNAVAILABLE, "there is no configuration yet\n"),
        Err(error) => sentence(StatusCode::BAD_REQUEST, &error),
    }
}

fn receipts(head: &Parts, proxy: &Arc<Proxy>) -> Response<AdminBody> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return only("GET, HEAD");
    }
    let path = head.uri.path();
    if !proxy.receipts().is_on() {
        return text(StatusCode::NOT_FOUND, "receipts are switched off: --receipts 0\n");
    }
    let query = match ReceiptQuery::of_query(head.uri.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    match path.strip_prefix("/receipts").and_then(|rest| rest.strip_prefix('/')) {
        None => json(receipts_page::list(&proxy.receipts().newest(&query.filter, query.limit), query.after)),
        Some("stream") if head.method == Method::HEAD => content("text/event-stream", AdminBody::text("")),
        Some("stream") => match receipts_page::stream(proxy, query, head) {
            Ok(events) => content("text/event-stream", AdminBody::events(events)),
            Err((status, message)) => text(status, message),
        },
        Some(id) => {
            let id = pailou_auth::query_values(&format!("id={id}"), "id").next().map(|id| id.into_owned()).unwrap_or_default();
            match String::from_utf8(id).ok().and_then(|id| proxy.receipts().find(&id)) {
                Some(receipt) => json(format!("{}\n", receipt.to_json())),
                None => text(StatusCode::NOT_FOUND, "no receipt of this id: it was not kept, or later ones took its place\n"),
            }
        }
    }
}
