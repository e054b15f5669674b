//! Sums of the counters, for a page that shows a gateway as a whole.

use pailou_telemetry::metric_table::Distribution;

use super::requests::CLASSES;

/// Requests of all rules since the start. A rule whose series made room for another's is in them no more.
#[derive(Clone, Debug)]
pub struct RequestTotals {
    /// By class of status; `none`: the client disconnected first.
    pub by_class: [(&'static str, u64); CLASSES.len()],
    /// From the request's head to the response's end.
    pub duration: Distribution,
    /// From a model call's head to the first content of its response.
    pub first_content: Distribution,
    /// Tokens of requests as backends counted them.
    pub input_tokens: u64,
    /// The same of responses.
    pub output_tokens: u64,
    /// Their price, in billionths of a US dollar.
    pub nano_usd: u64,
}

/// Calls of all models since the start.
#[derive(Clone, Debug)]
pub struct ModelTotals {
    /// Time of each output token after the first, of streamed responses; `None` before the first.
    pub per_output_token: Option<Distribution>,
    /// Input tokens that engines had cached.
    pub cached_tokens: u64,
    /// Output tokens of reasoning.
    pub reasoning_tokens: u64,
    /// The models with most requests, at most as many as were asked for, busiest first.
    pub busiest: Vec<ModelFigures>,
    /// Number of those that are left out.
    pub omitted: usize,
}

/// Calls of a model since the start.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFigures {
    /// The client's name of it.
    pub asked: Box<str>,
    /// The name that the engine was given.
    pub sent: Box<str>,
    /// Calls.
    pub requests: u64,
    /// Those with a status of 500 or above.
    pub errors: u64,
    /// Those with another status of 400 or above.
    pub client_errors: u64,
    /// Tokens of requests.
    pub input_tokens: u64,
    /// Tokens of responses.
    pub output_tokens: u64,
    /// Times to the first content: seconds of all together.
    pub ttft_seconds: f64,
    /// Their number.
    pub ttft_count: u64,
}

impl ModelFigures {
    /// Adds other calls of the model.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.client_errors += other.client_errors;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.ttft_seconds += other.ttft_seconds;
        self.ttft_count += other.ttft_count;
    }
}

/// Requests of a rule since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RuleFigures {
    /// Requests.
    pub requests: u64,
    /// Those with a status of 500 or above.
    pub errors: u64,
    /// Those with another status of 400 or above.
    pub client_errors: u64,
    /// Times to the first content: seconds of all together.
    pub ttft_seconds: f64,
    /// Their number.
    pub ttft_count: u64,
}
