//! Metrics of model calls under the names of OpenTelemetry's conventions for generative AI, as Prometheus has them. Names beyond the
//! conventions' (`gen_ai_original_model`, further types of tokens) are Agent Router's.

use std::{fmt, sync::Arc, time::Duration};

use pailou_telemetry::metric_table::{Distribution, histograms};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::{
    by_model::{ByModel, ModelKey, ModelName},
    exemplars::{Example, Exemplars, Histogram, written},
    model_series::{FAILURES, ModelSeries, failure},
};
use crate::request_record::RequestRecord;

type Labels<'a> = [(&'static str, &'a str); 5];

/// Reads the series of all models.
#[derive(Debug)]
pub(super) struct GenAiCollector {
    pub(super) models: Arc<ByModel>,
    /// Whether ACK's names are written too.
    pub(super) is_ack: bool,
}

impl Collector for GenAiCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.models.labelled();
        if all.is_empty() {
            return Ok(());
        }
        let rows = all.iter().flat_map(|(key, series)| tokens(key, series));
        histograms(&mut encoder, "gen_ai_client_token_usage", "Tokens of model calls, by type", rows)?;
        let rows = all.iter().flat_map(|(key, series)| {
            let failed = series.failed().map(|(kind, durations)| (labels(key, ("error_type", kind)), durations));
            std::iter::once((labels(key, ("error_type", "")), series.succeeded())).chain(failed)
        });
        let help = "From a model call's head to its response's end";
        histograms(&mut encoder, Histogram::Calls.name(), help, rows)?;
        type Read = fn(&ModelSeries) -> Distribution;
        let plain: [(&str, &str, Read); 2] = [
            (
                Histogram::FirstTokensOfCalls.name(),
                "From a model call's head to the first content of its response",
                ModelSeries::first_content,
            ),
            (
                "gen_ai_server_time_per_output_token_seconds",
                "Time of each output token after the first, of streamed responses",
                ModelSeries::per_output_token,
            ),
        ];
        for (name, help, read) in plain {
            let rows = all.iter().map(|(key, series)| (model_labels(key), read(series)));
            histograms(&mut encoder, name, help, rows.filter(|(_, durations)| durations.count > 0))?;
        }
        if self.is_ack {
            let rows = all.iter().flat_map(|(key, series)| {
                let failed = series.failed().map(|(kind, durations)| (ack_labels(key, kind), durations));
                std::iter::once((ack_labels(key, ""), series.succeeded())).chain(failed)
            });
            let help = "Seconds from a model call's head to its response's end";
            histograms(&mut encoder, "gen_ai_client_operation_duration", help, rows)?;
        }
        Ok(())
    }
}

/// Notes a request whose trace is kept as an example of its model's times.
pub(super) fn note(exemplars: &Exemplars, record: &RequestRecord, duration: Duration, example: Example) {
    let Some(name) = ModelName::of(record) else { return };
    let kind = failure(record).map_or("", |failure| FAILURES[failure]);
    let of_calls = || written(&labels(&name.to_key(), ("error_type", kind)));
    exemplars.observe(Histogram::Calls, (&name, kind), of_calls, example, duration);
    if let Some(after) = record.first_content() {
        exemplars.observe(Histogram::FirstTokensOfCalls, &name, || written(&model_labels(&name.to_key())), example, after);
    }
}

/// A row for each type of tokens that the model had.
fn tokens<'a>(key: &'a ModelKey, series: &ModelSeries) -> impl Iterator<Item = (Labels<'a>, Distribution)> {
    let types = [
        ("input", &series.input_tokens),
        ("output", &series.output_tokens),
        ("cached_input", &series.cached_tokens),
        ("reasoning", &series.reasoning_tokens),
    ];
    let rows = types.map(|(kind, tokens)| (labels(key, ("gen_ai_token_type", kind)), tokens.distribution()));
    rows.into_iter().filter(|(_, tokens)| tokens.count > 0)
}

fn labels<'a>(key: &'a ModelKey, further: (&'static str, &'a str)) -> Labels<'a> {
    let [operation, provider, asked, sent] = model_labels(key);
    [operation, provider, asked, sent, further]
}

/// Labels of ACK's plug-in. Host and port of requests are clients' own words, and are left out.
fn ack_labels<'a>(key: &'a ModelKey, error: &'a str) -> Labels<'a> {
    [
        ("gen_ai_operation_name", key.operation),
        ("gen_ai_system", key.provider),
        ("gen_ai_request_model", &key.asked),
        ("gen_ai_response_model", &key.sent),
        ("gen_ai_error_type", error),
    ]
}

fn model_labels(key: &ModelKey) -> [(&'static str, &str); 4] {
    [
        ("gen_ai_operation_name", key.operation),
        ("gen_ai_provider_name", key.provider),
        ("gen_ai_original_model", &key.asked),
        ("gen_ai_request_model", &key.sent),
    ]
}
