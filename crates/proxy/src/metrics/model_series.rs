//! Counters of the requests for one model.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use pailou_telemetry::metric_table::Distribution;

use super::{
    durations::{Durations, sum},
    quantities::Quantities,
};
use crate::request_record::RequestRecord;

/// Kinds of failed requests: the label of their series.
pub(super) const FAILURES: [&str; 3] = ["cancelled", "4xx", "5xx"];

/// The series of a model.
#[derive(Default)]
pub(super) struct ModelSeries {
    /// Requests under way.
    pub(super) running: Arc<AtomicU64>,
    succeeded: Durations,
    /// Made for the first one that fails.
    failed: OnceLock<Box<[Durations; FAILURES.len()]>>,
    first_content: Durations,
    per_output_token: Durations,
    per_token: Durations,
    pub(super) input_tokens: Quantities,
    pub(super) output_tokens: Quantities,
    pub(super) cached_tokens: Quantities,
    pub(super) reasoning_tokens: Quantities,
    pub(super) request_bytes: Quantities,
    pub(super) response_bytes: Quantities,
}

impl ModelSeries {
    /// Counts a request that has ended after `duration`.
    pub(super) fn settle(&self, record: &RequestRecord, duration: Duration) {
        match failure(record) {
            None => self.succeeded.observe(duration),
            Some(failure) => self.failed.get_or_init(Box::default)[failure].observe(duration),
        }
        self.request_bytes.observe(record.request_bytes);
        self.response_bytes.observe(record.response_bytes);
        if let Some(after) = record.first_content() {
            self.first_content.observe(after);
        }
        if let Some(usage) = &record.usage {
            self.input_tokens.observe(usage.input_tokens);
            self.output_tokens.observe(usage.output_tokens);
            for (series, count) in [(&self.cached_tokens, usage.cached_tokens), (&self.reasoning_tokens, usage.reasoning_tokens)] {
                if let Some(count) = count {
                    series.observe(count);
                }
            }
        }
        let tokens = record.generated_tokens();
        if let Some(per_token) = per_token(duration, tokens) {
            self.per_token.observe(per_token);
        }
        // A whole response comes at once: the time of its tokens is not to be seen.
        let streamed = record.first_content().filter(|_| record.content_events > 1);
        let after_first = streamed.and_then(|after| per_token(duration.saturating_sub(after), tokens.saturating_sub(1)));
        if let Some(per_token) = after_first {
            self.per_output_token.observe(per_token);
        }
    }

    /// From the request's head to the response's end, of requests that succeeded.
    pub(super) fn succeeded(&self) -> Distribution {
        sum([&self.succeeded].into_iter())
    }

    /// The same of those that failed, by kind of failure.
    pub(super) fn failed(&self) -> impl Iterator<Item = (&'static str, Distribution)> {
        let failed = self.failed.get().into_iter().flat_map(|failed| FAILURES.into_iter().zip(failed.iter()));
        failed.map(|(kind, durations)| (kind, sum([durations].into_iter()))).filter(|(_, all)| all.count > 0)
    }

    /// The same of all.
    pub(super) fn duration(&self) -> Distribution {
        let failed = self.failed.get().into_iter().flat_map(|failed| failed.iter());
        sum(std::iter::once(&self.succeeded).chain(failed))
    }

    /// From the request's head to the first content of the response.
    pub(super) fn first_content(&self) -> Distribution {
        sum([&self.first_content].into_iter())
    }

    /// Time of each output token after the first, of streamed responses.
    pub(super) fn per_output_token(&self) -> Distribution {
        sum([&self.per_output_token].into_iter())
    }

    /// Time of the whole request for each output token.
    pub(super) fn per_token(&self) -> Distribution {
        sum([&self.per_token].into_iter())
    }
}

/// The kind of a failed request, of [`FAILURES`].
pub(super) fn failure(record: &RequestRecord) -> Option<usize> {
    match record.status.map(|status| status.as_u16() / 100) {
        Some(1..=3) => None,
        class => Some(class.map_or(0, |class| if class == 4 { 1 } else { 2 })),
    }
}

fn per_token(duration: Duration, tokens: u64) -> Option<Duration> {
    (tokens > 0).then(|| Duration::from_secs_f64(duration.as_secs_f64() / tokens as f64))
}
