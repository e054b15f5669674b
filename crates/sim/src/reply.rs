//! Answers of a handler: bodies, JSON, errors.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::{Frame, SizeHint};
use serde::Serialize;

use crate::engine::SubmitError;
use crate::mishap::BrokenBody;
use crate::sse::EventStream;

/// The body of a response.
pub(crate) enum Body {
    Full(Bytes),
    Events(Box<EventStream>),
    Broken(Box<BrokenBody>),
}

/// A response body that a fault broke off.
#[derive(Debug, thiserror::Error)]
#[error("a fault breaks the response off")]
pub(crate) struct BrokenOff;

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Events(events) => events.poll_next(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk)))),
            Body::Broken(broken) => broken.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Events(_) => SizeHint::default(),
            Body::Broken(broken) => broken.size_hint(),
        }
    }
}

/// A response, or the error to answer with.
pub(crate) type Reply = Result<Response<Body>, ApiError>;

/// 200 with `value` as JSON.
pub(crate) fn json(value: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(value).map_err(|_| ApiError::internal("the answer has no JSON form"))?;
    Ok(with_type(StatusCode::OK, "application/json", body))
}

/// 200 with a stream of server-sent events.
pub(crate) fn events(stream: EventStream) -> Reply {
    let mut response = Response::new(Body::Events(Box::new(stream)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// `body` with a content type.
pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Full(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An error in the shape that vLLM and OpenAI share.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) kind: &'static str,
    pub(crate) param: Option<&'static str>,
    /// OpenAI's symbolic code; vLLM's errors bear the status instead.
    pub(crate) code: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, message: message.into(), kind, param: None, code: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, "BadRequestError", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist.");
        ApiError { param: Some("model"), ..ApiError::new(StatusCode::NOT_FOUND, "NotFoundError", message) }
    }

    /// The error as Anthropic's API words it.
    pub(crate) fn into_anthropic(self) -> Response<Body> {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            404 => "not_found_error",
            413 => "request_too_large",
            400..=499 => "invalid_request_error",
            503 => "overloaded_error",
            _ => "api_error",
        };
        let body = serde_json::json!({"type": "error", "error": {"type": kind, "message": self.message}});
        with_type(self.status, "application/json", body.to_string())
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let code = match self.code {
            Some(code) => serde_json::Value::from(code),
            None => self.status.as_u16().into(),
        };
        let body = serde_json::json!({
            "error": {"message": self.message, "type": self.kind, "param": self.param, "code": code}
        });
        with_type(self.status, "application/json", body.to_string())
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::TooLong => ApiError::bad_request(error.to_string()),
            SubmitError::QueueFull => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", error.to_string()),
        }
    }
}
