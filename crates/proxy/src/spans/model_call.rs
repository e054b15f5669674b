//! Attributes of a model call, by OpenTelemetry's conventions for generative AI.

use std::time::Duration;

use pailou_ai::{Api, Usage};
use pailou_telemetry::{attributes::Attributes, text_writer::TextWriter};
use serde_json::Value;

use super::open_inference;
use crate::{
    attempt_record::AttemptRecord,
    model_content::{Message, ModelContent, Part},
    model_spans::SpanConvention,
    request_record::RequestRecord,
    trace::KeptTrace,
};

/// A model call at one endpoint.
pub(super) struct ModelCall<'r> {
    pub(super) operation: &'static str,
    pub(super) provider: &'static str,
    /// The model that the endpoint was asked for.
    pub(super) model: Option<&'r str>,
    pub(super) kept: &'r KeptTrace,
    /// The answer, if it went on to the client.
    pub(super) answer: Option<ModelAnswer<'r>>,
}

pub(super) struct ModelAnswer<'r> {
    pub(super) usage: Option<&'r Usage>,
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
                .first_content()
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
        if self.kept.model_spans.convention == SpanConvention::OpenInference {
            return open_inference::append_names(self, attributes);
        }
        attributes.text("gen_ai.operation.name", self.operation);
        attributes.text("gen_ai.provider.name", self.provider);
        attributes.option("gen_ai.request.model", self.model);
    }

    /// Appends the call and its answer, but for contents.
    pub(super) fn append(&self, attributes: &mut Attributes<'_>) {
        let Self { kept, .. } = self;
        self.append_names(attributes);
        if kept.model_spans.convention == SpanConvention::OpenInference {
            return open_inference::append(self, attributes);
        }
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
        self.append_prompt_usage(usage, attributes);
        attributes.number("gen_ai.usage.output_tokens", usage.output_tokens);
        let counted = [
            ("gen_ai.usage.cache_creation.input_tokens", usage.cache_creation_tokens),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
        ];
        for (key, count) in counted {
            if let Some(count) = count {
                attributes.number(key, count);
            }
        }
    }

    /// Appends the tokens of the prompt: a prefill has no others.
    pub(super) fn append_prompt_usage(&self, usage: &Usage, attributes: &mut Attributes<'_>) {
        let (input, cached) = match self.kept.model_spans.convention {
            SpanConvention::GenAi => ("gen_ai.usage.input_tokens", "gen_ai.usage.cache_read.input_tokens"),
            SpanConvention::OpenInference => ("llm.token_count.prompt", "llm.token_count.prompt_details.cache_read"),
        };
        attributes.number(input, usage.input_tokens);
        if let Some(count) = usage.cached_tokens {
            attributes.number(cached, count);
        }
    }

    /// Appends contents, which come after all else: a span has room for so many attributes, and contents have the rest.
    pub(super) fn append_content(&self, attributes: &mut Attributes<'_>) {
        let Some(content) = self.kept.content.as_ref().filter(|_| self.answer.is_some() && self.operation != "embeddings") else {
            return;
        };
        match self.kept.model_spans.convention {
            SpanConvention::GenAi => append_content(content, attributes),
            SpanConvention::OpenInference => open_inference::append_content(content, attributes),
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

/// Appends messages as JSON.
fn append_content(content: &ModelContent, attributes: &mut Attributes<'_>) {
    let instructions: Vec<_> = content.instructions.iter().map(Part::to_json).collect();
    let (input, output) = (&content.input, content.output());
    let messages = |messages: &[Message]| messages.iter().map(Message::to_json).collect::<Vec<_>>();
    for (key, list) in [
        ("gen_ai.system_instructions", instructions),
        ("gen_ai.input.messages", messages(input)),
        ("gen_ai.output.messages", messages(&output)),
    ] {
        if !list.is_empty() {
            attributes.whole_text(key, &Value::Array(list).to_string());
        }
    }
}
