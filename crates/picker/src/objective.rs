//! Objectives of a request: times that its client wants kept.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::latency::Expected;

/// Headers that say within how many milliseconds the first token is to come, the newer name first.
pub const TTFT_HEADERS: [&str; 2] = ["x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"];
/// The same of each further token, on average.
pub const TPOT_HEADERS: [&str; 2] = ["x-llm-d-slo-tpot-ms", "x-slo-tpot-ms"];

/// Times that a request wants kept, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objective {
    /// To the first token.
    pub first_token: Option<f32>,
    /// For each further one, on average.
    pub further_token: Option<f32>,
}

impl Objective {
    /// By the headers' values. What is no positive number of milliseconds counts as none.
    pub fn new(ttft: Option<&str>, tpot: Option<&str>) -> Self {
        let seconds = |value: &str| {
            let millis: f32 = value.trim().parse().ok()?;
            (millis.is_finite() && millis > 0.0).then_some(millis / 1e3)
        };
        Self { first_token: ttft.and_then(seconds), further_token: tpot.and_then(seconds) }
    }

    /// Whether it says anything.
    pub fn is_some(&self) -> bool {
        self.first_token.is_some() || self.further_token.is_some()
    }

    /// The greater of both expected times, each as a multiple of what is wanted: above 1 it is not kept. 0 where nothing is expected.
    pub(crate) fn strain(&self, expected: Expected) -> f32 {
        let strain = |wanted: Option<f32>, expected: Option<f32>| wanted.zip(expected).map_or(0.0, |(wanted, it)| it / wanted);
        strain(self.first_token, expected.first_token).max(strain(self.further_token, expected.further_token))
    }
}

/// Objectives of requests that engines kept and did not keep.
#[derive(Debug, Default)]
pub(crate) struct ObjectiveCounts {
    first_token: [AtomicU64; 2],
    further_token: [AtomicU64; 2],
}

impl ObjectiveCounts {
    /// A first token came after so many seconds.
    pub(crate) fn first_token(&self, objective: &Objective, took: f32) {
        count(&self.first_token, objective.first_token, took);
    }

    /// Each further one took so many seconds.
    pub(crate) fn further_token(&self, objective: &Objective, took: f32) {
        count(&self.further_token, objective.further_token, took);
    }

    /// Their numbers.
    pub(crate) fn totals(&self) -> ObjectiveTotals {
        let read = |counts: &[AtomicU64; 2]| [counts[0].load(Relaxed), counts[1].load(Relaxed)];
        let ([ttft_kept, ttft_missed], [tpot_kept, tpot_missed]) = (read(&self.first_token), read(&self.further_token));
        ObjectiveTotals { ttft_kept, ttft_missed, tpot_kept, tpot_missed }
    }
}

/// Requests of a pool by whether their objectives were kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectiveTotals {
    /// First token in time.
    pub ttft_kept: u64,
    /// First token late.
    pub ttft_missed: u64,
    /// Further tokens in time.
    pub tpot_kept: u64,
    /// Further tokens late.
    pub tpot_missed: u64,
}

impl ObjectiveTotals {
    /// Rows of the metric [`OBJECTIVES_METRIC`]: labels `objective` and `result`, and the count.
    pub fn rows(&self) -> [([(&'static str, &'static str); 2], u64); 4] {
        let row = |objective, result, count| ([("objective", objective), ("result", result)], count);
        [
            row("ttft", "kept", self.ttft_kept),
            row("ttft", "missed", self.ttft_missed),
            row("tpot", "kept", self.tpot_kept),
            row("tpot", "missed", self.tpot_missed),
        ]
    }
}

/// Name and meaning of the metric of objectives.
pub const OBJECTIVES_METRIC: (&str, &str) =
    ("pailou_request_objectives", "Objectives of streamed responses, by whether they were kept");

fn count(counts: &[AtomicU64; 2], wanted: Option<f32>, took: f32) {
    if let Some(wanted) = wanted {
        counts[usize::from(took > wanted)].fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_is_a_positive_number_of_milliseconds() {
        let objective = Objective::new(Some(" 250 "), Some("12.5"));
        assert_eq!(objective, Objective { first_token: Some(0.25), further_token: Some(0.0125) });
        for value in ["", "0", "-1", "nan", "inf", "250ms", "1e99"] {
            assert!(!Objective::new(Some(value), Some(value)).is_some(), "{value:?}");
        }
    }

    #[test]
    fn the_time_that_is_further_from_being_kept_counts() {
        let objective = Objective { first_token: Some(1.0), further_token: Some(0.01) };
        let strain =
            |first: f32, further: f32| objective.strain(Expected { first_token: Some(first), further_token: Some(further) });
        assert_eq!((strain(0.5, 0.02), strain(2.0, 0.005)), (2.0, 2.0));
        assert_eq!(objective.strain(Expected::default()), 0.0);
    }
}
