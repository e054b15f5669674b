//! Error bodies, and error events for streams that break, in each dialect.
//!
//! OpenAI: `{"error":{"message","type","param","code"}}`. Anthropic: `{"type":"error","error":{"type","message"}}`. The
//! Responses API has OpenAI's body, but an event of its own: `{"type":"error","code","message","param","sequence_number"}`.

use bytes::Bytes;

use crate::endpoint::Dialect;
use crate::json::push_string;

/// An error for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    /// The shape.
    pub dialect: Dialect,
    /// The HTTP status, which gives the error's type. For an event: the status it would have had.
    pub status: u16,
    /// For people. It must hold no credential.
    pub message: &'a str,
    /// For programs: `model_not_found`, `context_length_exceeded`. Anthropic has none.
    pub code: Option<&'a str>,
    /// The member of the request at fault. Anthropic has none.
    pub param: Option<&'a str>,
}

impl<'a> ErrorBody<'a> {
    /// An error without code and param.
    pub fn new(dialect: Dialect, status: u16, message: &'a str) -> Self {
        Self { dialect, status, message, code: None, param: None }
    }

    /// Adds a code.
    pub fn with_code(self, code: &'a str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Adds the member of the request at fault.
    pub fn with_param(self, param: &'a str) -> Self {
        Self { param: Some(param), ..self }
    }

    /// The body of an error response, as `application/json`.
    pub fn to_json(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.message.len() + 128);
        self.push_json(&mut out);
        out.into()
    }

    /// The event that ends a stream which cannot go on, as `text/event-stream`, blank line included. `sequence_number` counts
    /// events in the Responses API (see [`ResponseReader`](crate::usage::ResponseReader)) and is unused elsewhere.
    pub fn to_event(&self, sequence_number: u64) -> Bytes {
        let mut out = Vec::with_capacity(self.message.len() + 160);
        match self.dialect {
            Dialect::OpenAi => {
                out.extend(b"data: ");
                self.push_json(&mut out);
            }
            Dialect::Anthropic => {
                out.extend(b"event: error\ndata: ");
                self.push_json(&mut out);
            }
            Dialect::Responses => {
                out.extend(b"event: error\ndata: {\"type\":\"error\",\"code\":");
                push_string(&mut out, self.code.unwrap_or_else(|| self.kind()));
                out.extend(b",\"message\":");
                push_string(&mut out, self.message);
                out.extend(b",\"param\":");
                push_option(&mut out, self.param);
                out.extend(format!(",\"sequence_number\":{sequence_number}}}").as_bytes());
            }
        }
        out.extend(b"\n\n");
        out.into()
    }

    /// The error's type: what the dialect calls this status.
    pub fn kind(&self) -> &'static str {
        let anthropic = self.dialect == Dialect::Anthropic;
        match self.status {
            // OpenAI's errors of models have this type, be they 404 or 403.
            _ if !anthropic && self.code == Some("model_not_found") => "invalid_request_error",
            401 => "authentication_error",
            402 if anthropic => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            408 | 504 => "timeout_error",
            413 if anthropic => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 if anthropic => "overloaded_error",
            503 | 529 => "service_unavailable_error",
            500..=599 if anthropic => "api_error",
            500..=599 => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn push_json(&self, out: &mut Vec<u8>) {
        if self.dialect == Dialect::Anthropic {
            out.extend(b"{\"type\":\"error\",\"error\":{\"type\":");
            push_string(out, self.kind());
            out.extend(b",\"message\":");
            push_string(out, self.message);
        } else {
            out.extend(b"{\"error\":{\"message\":");
            push_string(out, self.message);
            out.extend(b",\"type\":");
            push_string(out, self.kind());
            out.extend(b",\"param\":");
            push_option(out, self.param);
            out.extend(b",\"code\":");
            push_option(out, self.code);
        }
        out.extend(b"}}");
    }
}

fn push_option(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_string(out, text),
        None => out.extend(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn each_dialect_has_its_own_body() {
        let error = ErrorBody::new(Dialect::OpenAi, 404, "no model \"x\"").with_code("model_not_found").with_param("model");
        let openai = json!({"error": {
            "message": "no model \"x\"", "type": "invalid_request_error", "param": "model", "code": "model_not_found",
        }});
        assert_eq!(parsed(&error.to_json()), openai);
        let responses = ErrorBody { dialect: Dialect::Responses, ..error.clone() };
        assert_eq!(parsed(&responses.to_json()), openai);
        let anthropic = ErrorBody { dialect: Dialect::Anthropic, ..error };
        assert_eq!(
            parsed(&anthropic.to_json()),
            json!({"type": "error", "error": {"type": "not_found_error", "message": "no model \"x\""}})
        );
    }

    #[test]
    fn each_dialect_has_its_own_event() {
        let event = |dialect| {
            let bytes = ErrorBody::new(dialect, 502, "the engine went away").to_event(7);
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        assert_eq!(
            event(Dialect::OpenAi),
            "data: {\"error\":{\"message\":\"the engine went away\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n"
        );
        assert_eq!(
            event(Dialect::Anthropic),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"the engine went away\"}}\n\n"
        );
        assert_eq!(
            event(Dialect::Responses),
            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"the engine went away\",\
             \"param\":null,\"sequence_number\":7}\n\n"
        );
    }

    proptest! {
        #[test]
        fn any_message_survives_escaping(message in any::<String>()) {
            let body = ErrorBody::new(Dialect::OpenAi, 400, &message).to_json();
            prop_assert_eq!(&parsed(&body)["error"]["message"], &Value::from(message.as_str()));
            // A raw line break would end the event early.
            let event = ErrorBody::new(Dialect::OpenAi, 400, &message).to_event(0);
            prop_assert_eq!(event.iter().filter(|&&byte| byte == b'\n' || byte == b'\r').count(), 2);
        }
    }
}
