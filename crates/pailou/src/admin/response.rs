//! Responses of the admin endpoint. Every one has the headers by which browsers keep other sites away from it.

use std::fmt::Display;

use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use super::{body::AdminBody, guard::Refusal};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// Scripts and styles are files of this endpoint and nothing else, it is asked and nobody else, and no other page frames it.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A text of this status.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<AdminBody> {
    let mut response = content(TEXT, AdminBody::text(body));
    *response.status_mut() = status;
    response
}

/// A sentence that is put together, of this status.
pub(super) fn sentence(status: StatusCode, words: &impl Display) -> Response<AdminBody> {
    text(status, format!("{words}\n"))
}

/// A refusal of the guard.
pub(super) fn refused(refusal: Refusal) -> Response<AdminBody> {
    text(refusal.status, refusal.message)
}

/// A document.
pub(super) fn json(document: impl Into<Bytes>) -> Response<AdminBody> {
    content(JSON, AdminBody::text(document))
}

/// A refusal of methods other than these.
pub(super) fn only(methods: &'static str) -> Response<AdminBody> {
    let mut response = sentence(StatusCode::METHOD_NOT_ALLOWED, &format_args!("only {methods} is answered here"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// A body of this type.
pub(super) fn content(kind: &'static str, body: AdminBody) -> Response<AdminBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
