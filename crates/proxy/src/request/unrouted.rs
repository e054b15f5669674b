//! Answer to a client when no rule matches.

use http::header;
use pailou_snapshot::{Body, Listener, MatchOutcome};

use crate::{
    error::{Error, Flag},
    request_head::Head,
    request_input::RequestInput,
};

/// The error for a request that nothing at the listener matches. Where a rule would match some model, it says why the request
/// names none, since that is what its sender can mend.
pub(super) fn error(listener: &Listener, head: &Head, input: &RequestInput) -> Error {
    if let Some(model) = input.call().and_then(|call| call.model()) {
        // The name is the client's own, cut so that the answer stays small.
        let model: String = model.chars().take(128).collect();
        return Error::new(Flag::NoRoute, format!("no route for the model `{model}` at this address")).with_code("model_not_found");
    }
    if head.upgrade.is_some() || !matches!(listener.routes.find(&head.view(Body::Unread)), MatchOutcome::NeedsBody) {
        return Error::new(Flag::NoRoute, "no route for this request");
    }
    let obstacle = match input {
        RequestInput::Absent => "and there is no body",
        RequestInput::Read(call) if call.scan.is_some() => "and this body has no `model` that is a string",
        RequestInput::Read(_) => "and this body is not valid JSON",
        RequestInput::Unread(_) if head.parts.headers.contains_key(header::CONTENT_ENCODING) => {
            "and this body is compressed; send it without Content-Encoding"
        }
        RequestInput::Unread(_) => "and this body is not declared as JSON; send it with Content-Type: application/json",
    };
    Error::new(Flag::NoRoute, format!("no route for this request: routes here go by the `model` in a request's body, {obstacle}"))
}
