//! Paths of the admin endpoint that tell of single requests: receipts and explanations. Behind the [guard](crate::admin_guard).

use std::sync::Arc;

use hyper::{
    Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    http::request::Parts,
};
use pailou_proxy::Proxy;

use crate::{
    admin_body::AdminBody,
    receipts_page::{self, ReceiptQuery},
};

const JSON: &str = "application/json";

/// Whether a path tells of single requests.
pub(crate) fn is_of_requests(path: &str) -> bool {
    path == "/receipts" || path.starts_with("/receipts/")
}

/// Answers a request that was admitted.
pub(crate) fn answer(head: &Parts, proxy: &Arc<Proxy>) -> Response<AdminBody> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
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
        None => content(JSON, AdminBody::text(receipts_page::list(&proxy.receipts().newest(&query.filter, query.limit)))),
        Some("stream") if head.method == Method::HEAD => content("text/event-stream", AdminBody::text("")),
        Some("stream") => match receipts_page::stream(proxy, query, head) {
            Ok(events) => content("text/event-stream", AdminBody::Events(events)),
            Err((status, message)) => text(status, message),
        },
        Some(id) => {
            let id = pailou_auth::query_values(&format!("id={id}"), "id").next().map(|id| id.into_owned()).unwrap_or_default();
            match String::from_utf8(id).ok().and_then(|id| proxy.receipts().find(&id)) {
                Some(receipt) => content(JSON, AdminBody::text(format!("{}\n", receipt.json))),
                None => text(StatusCode::NOT_FOUND, "no receipt of this id: it was not kept, or later ones took its place\n"),
            }
        }
    }
}

/// A text of this status.
pub(crate) fn text(status: StatusCode, body: &'static str) -> Response<AdminBody> {
    let mut response = content("text/plain; charset=utf-8", AdminBody::text(body));
    *response.status_mut() = status;
    response
}

fn content(kind: &'static str, body: AdminBody) -> Response<AdminBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}
