//! Answer to a client when no rule matches.

use http::header;
use pailou_snapshot::{Body, Listener, MatchOutcome};

use super::unreadable;
use crate::{
    content_coding::unsupported,
    error::{Audience, Error, Flag},
    request_head::Head,
    request_input::RequestInput,
};

/// The error for a request that nothing at the listener matches. Where a rule would match some model, it says why the request
/// names none, since that is what its sender can mend.
pub(super) fn error(listener: &Listener, head: &Head, input: &RequestInput) -> Error {
    if let Some(model) = input.call().and_then(|call| call.model()) {
        return unknown_model(model);
    }
    if head.upgrade.is_some() || !matches!(listener.routes.find(&head.view(Body::Unread)), MatchOutcome::NeedsBody) {
        return Error::new(Flag::NoRoute, "no route for this request");
    }
    if matches!(head.audience, Audience::Objects(_)) {
        let message = "no route for this request: it names no model, and routes here go by the model; add a rule that matches this path \
                       and leads to the backend that has what the request is about";
        return Error::new(Flag::NoRoute, message);
    }
    let obstacle = match input {
        RequestInput::Absent => "and there is no body",
        RequestInput::Read(read) => match &read.scan {
            Some(Err(error)) if is_to_model(head) => return unreadable::malformed(error),
            Some(Err(_)) | None => "and this body is not valid JSON",
            Some(Ok(_)) => "and this body has no `model` that is a string",
        },
        RequestInput::Unread(_) if head.parts.headers.contains_key(header::CONTENT_ENCODING) => return unsupported(),
        RequestInput::Unread(_) => "and this body is not declared as JSON; send it with Content-Type: application/json",
    };
    Error::new(Flag::NoRoute, format!("no route for this request: routes here go by the `model` in a request's body, {obstacle}"))
}

/// The error for a model that no rule leads to.
pub(super) fn unknown_model(model: &str) -> Error {
    Error::unknown_model(model, "no route for the model at this address")
}

/// Whether the client means a model's API: by the path, or by the type of its body.
fn is_to_model(head: &Head) -> bool {
    matches!(head.audience, Audience::Model(_))
        || head.text(&header::CONTENT_TYPE).is_some_and(|value| value.contains("json") || value.starts_with("multipart/form-data"))
}
