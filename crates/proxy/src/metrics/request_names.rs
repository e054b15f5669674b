//! Metrics of model calls under the names that dashboards of endpoint pickers read: those of Gateway API Inference Extension up to v1.5
//! (`inference_objective_*`) and of llm-d's router (`llm_d_epp_*`).

use std::{collections::BTreeMap, fmt, sync::Arc, sync::atomic::Ordering::Relaxed};

use pailou_picker::MetricNames;
use pailou_telemetry::metric_table::{Distribution, counters, gauges, histograms};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::{by_model::ByModel, model_series::ModelSeries};

/// Reads the series of all models.
#[derive(Debug)]
pub(super) struct RequestNamesCollector {
    pub(super) models: Arc<ByModel>,
    pub(super) names: MetricNames,
}

/// A histogram: its names in both sets, its meaning, its contents.
type Histogram = ([Option<&'static str>; 2], &'static str, fn(&ModelSeries) -> Distribution);

const HISTOGRAMS: [Histogram; 9] = [
    (
        [Some("inference_objective_request_duration_seconds"), Some("llm_d_epp_request_duration_seconds")],
        "From a request's head to its response's end",
        ModelSeries::duration,
    ),
    (
        [Some("inference_objective_request_ttft_seconds"), Some("llm_d_epp_request_ttft_seconds")],
        "From a request's head to the first content of its response",
        ModelSeries::first_content,
    ),
    (
        [Some("inference_objective_normalized_time_per_output_token_seconds"), Some("llm_d_epp_request_ntpot_seconds")],
        "Duration of a request for each output token",
        ModelSeries::per_token,
    ),
    (
        [None, Some("llm_d_epp_request_streaming_tpot_seconds")],
        "Time of each output token after the first, of streamed responses",
        ModelSeries::per_output_token,
    ),
    ([Some("inference_objective_request_sizes"), Some("llm_d_epp_request_size_bytes")], "Bytes of a request's body", |series| {
        series.request_bytes.distribution()
    }),
    ([Some("inference_objective_response_sizes"), Some("llm_d_epp_response_size_bytes")], "Bytes of a response's body", |series| {
        series.response_bytes.distribution()
    }),
    ([Some("inference_objective_input_tokens"), Some("llm_d_epp_request_input_tokens")], "Tokens of a prompt", |series| {
        series.input_tokens.distribution()
    }),
    ([Some("inference_objective_output_tokens"), Some("llm_d_epp_request_output_tokens")], "Tokens of an answer", |series| {
        series.output_tokens.distribution()
    }),
    (
        [Some("inference_objective_prompt_cached_tokens"), Some("llm_d_epp_request_cached_tokens")],
        "Tokens of a prompt that the engine had cached",
        |series| series.cached_tokens.distribution(),
    ),
];

/// By the client's name of the model and the engine's.
type Models = BTreeMap<(Box<str>, Box<str>), Vec<Arc<ModelSeries>>>;

impl Collector for RequestNamesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut models = Models::new();
        for (key, series) in self.models.labelled() {
            models.entry((key.asked, key.sent)).or_default().push(series);
        }
        let sets = [self.names.inference_objective, self.names.llm_d];
        for (names, help, read) in HISTOGRAMS {
            for name in names.iter().zip(sets).filter_map(|(name, is_on)| name.filter(|_| is_on)) {
                let rows = models
                    .iter()
                    .filter_map(|(model, all)| Some((labels(model), Distribution::total(all.iter().map(|series| read(series)))?)));
                histograms(&mut encoder, name, help, rows)?;
            }
        }
        let counts = [
            ("inference_objective_request", "inference_objective_request_error", "inference_objective_running_requests"),
            ("llm_d_epp_request", "llm_d_epp_request_error", "llm_d_epp_request_running"),
        ];
        for (names, _) in counts.into_iter().zip(sets).filter(|(_, is_on)| *is_on) {
            count(&mut encoder, names, &models)?;
        }
        Ok(())
    }
}

/// Writes requests, failed ones and those under way.
fn count(encoder: &mut DescriptorEncoder<'_>, (requests, errors, running): (&str, &str, &str), models: &Models) -> fmt::Result {
    let rows = models.iter().map(|(model, all)| (labels(model), all.iter().map(|series| series.duration().count).sum::<u64>()));
    counters(encoder, requests, "Requests that have ended", rows)?;
    let rows = models.iter().flat_map(|(model, all)| {
        let mut failed = BTreeMap::<&str, u64>::new();
        for (kind, durations) in all.iter().flat_map(|series| series.failed()) {
            *failed.entry(kind).or_default() += durations.count;
        }
        let [asked, sent] = labels(model);
        failed.into_iter().map(move |(kind, count)| ([asked, sent, ("error_code", kind)], count))
    });
    counters(encoder, errors, "Requests that failed, by class of status; `cancelled`: the client left first", rows)?;
    let rows = models.iter().map(|(model, all)| {
        let running: u64 = all.iter().map(|series| series.running.load(Relaxed)).sum();
        (labels(model), running as f64)
    });
    gauges(encoder, running, "Requests under way at endpoints", rows)
}

fn labels((asked, sent): &(Box<str>, Box<str>)) -> [(&'static str, &str); 2] {
    [("model_name", asked), ("target_model_name", sent)]
}
