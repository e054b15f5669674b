//! Attributes of a model call, by OpenTelemetry's conventions for generative AI.

use std::time::Duration;

use pailou_ai::{Api, Usage};
use pailou_telemetry::{attributes::Attributes, text_writer::TextWriter};

use crate::{attempt_record::AttemptRecord, request_record::RequestRecord, trace::KeptTrace};

/// A model call at one endpoint.
pub(super) struct ModelCall<'r> {
    operation: &'static str,
    provider: &'static str,
    /// The model that the endpoint was asked for.
    model: Option<&'r str>,
    kept: &'r KeptTrace,
    /// The answer, if it went on to the client.
    answer: Option<ModelAnswer<'r>>,
}

struct ModelAnswer<'r> {
    usage: Option<&'r Usage>,
    /// From the attempt's beginning to the first content.
    first_chunk: Option<Duration>,
}

impl<'r> ModelCall<'r> {
    /// The call that an attempt is; `None` for other requests.
    pub(super) fn of(record: &'r RequestRecord, kept: &'r KeptTrace, attempt: &'r AttemptRecord, is_relayed: bool) -> Option<Self> {
        let api = Api::from_path(&record.path).filter(|api| api.names_model()).or_else(|| Api::from_path(attempt.path.path()))?;
        let answer = is_relayed.then(|| ModelAnswer {
            usage: record.usage.as_ref(),
            first_chunk: record
                .content_after
                .filter(|_| record.content_events > 0)
                .map(|after| after.saturating_sub(attempt.started.saturating_duration_since(record.started))),
        });
        Some(Self {
            operation: api.operation()?,
            provider: api.provider(),
            model: attempt.target_model.as_deref().or(record.replaced_model.as_deref()).or(record.model.as_deref()),
            kept,
            answer,
        })
    }

    /// Appends what was asked for, and of whom.
    pub(super) fn append_names(&self, attributes: &mut Attributes<'_>) {
        attributes.text("gen_ai.operation.name", self.operation);
        attributes.text("gen_ai.provider.name", self.provider);
        attributes.option("gen_ai.request.model", self.model);
    }

    /// Appends the call and its answer.
    pub(super) fn append(&self, attributes: &mut Attributes<'_>) {
        let Self { kept, .. } = self;
        self.append_names(attributes);
        if kept.is_stream {
            attributes.flag("gen_ai.request.stream", true);
        }
        if let Some(max_tokens) = kept.max_tokens {
            attributes.number("gen_ai.request.max_tokens", max_tokens);
        }
        let Some(answer) = &self.answer else { return };
        attributes.option("gen_ai.response.model", kept.response_model.as_deref());
        if let Some(reason) = &kept.finish_reason {
            attributes.texts("gen_ai.response.finish_reasons", [&**reason]);
        }
        if let Some(first_chunk) = answer.first_chunk {
            attributes.fraction("gen_ai.response.time_to_first_chunk", first_chunk.as_secs_f64());
        }
        let Some(usage) = answer.usage else { return };
        attributes.number("gen_ai.usage.input_tokens", usage.input_tokens);
        attributes.number("gen_ai.usage.output_tokens", usage.output_tokens);
        let counted = [
            ("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
            ("gen_ai.usage.cache_creation.input_tokens", usage.cache_creation_tokens),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
        ];
        for (key, count) in counted {
            if let Some(count) = count {
                attributes.number(key, count);
            }
        }
    }

    /// The name of its span: `{operation} {model}`.
    pub(super) fn push_name(&self, text: &mut TextWriter<'_>) {
        text.push(self.operation);
        if let Some(model) = self.model {
            text.push_all([" ", model]);
        }
    }
}
