//! Answers.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use serde_json::{Value, json};

/// An answer, whole or a stream of changes.
pub type Answer = Response<BoxBody<Bytes, Infallible>>;

pub(crate) fn ok(value: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed())
}

pub(crate) fn refuse(code: u16, message: &str) -> Answer {
    let mut response = ok(&failure(code, message));
    *response.status_mut() = StatusCode::from_u16(code).expect("it is a code");
    response
}

pub(crate) fn failure(code: u16, message: &str) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        500 => "InternalError",
        _ => "",
    };
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": reason, "metadata": {} })
}
