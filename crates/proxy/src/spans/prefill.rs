//! Span of a prefill that the gateway sends to another endpoint than the one that decodes.

use pailou_telemetry::{span::append_span, text_writer::TextWriter};

use super::{Request, attributes::endpoint_address, custom, model_call::ModelCall};
use crate::{gateway_log::Facts, http_attributes::method, prefill_record::PrefillRecord};

impl Request<'_> {
    /// Appends the span of a prefill; one under way ends with the request.
    pub(super) fn append_prefill(&self, out: &mut Vec<u8>, prefill: &PrefillRecord) {
        let Self { record, kept, .. } = self;
        let (attempt, end) = (&prefill.attempt, prefill.end.get());
        let head = self.client_head(attempt, end.map(|end| end.took));
        let call = ModelCall::of(record, kept, attempt, false);
        let (name, original) = method(&record.method);
        let facts = |notes| Facts::of_attempt(record, notes, attempt, self.duration);
        let write_name = |text: &mut TextWriter<'_>| match &call {
            Some(call) => call.push_name(text),
            None => text.push(name),
        };
        append_span(out, &head, write_name, |span| {
            let attributes = span.attributes();
            attributes.text("http.request.method", name);
            attributes.option("http.request.method_original", original);
            endpoint_address(attributes, attempt);
            attributes.text("pailou.role", "prefill");
            if let Some(call) = &call {
                call.append_names(attributes);
            }
            custom::append(kept, attributes, facts);
            let Some(end) = end else { return };
            if let Some(status) = end.status {
                attributes.number("http.response.status_code", status.as_u16().into());
            }
            if let (Some(usage), Some(call)) = (&end.usage, &call) {
                call.append_prompt_usage(usage, attributes);
            }
            match (end.error, end.status) {
                (Some(flag), _) => attributes.text("error.type", flag),
                (None, Some(status)) if status.is_client_error() || status.is_server_error() => {
                    attributes.text("error.type", status.as_str());
                }
                (None, _) => return,
            }
            span.fail();
        });
    }
}
