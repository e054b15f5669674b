//! Routing receipts: why a request went to its endpoint, and how it fared. JSON form `pailou.receipt/v1`.
//!
//! A receipt holds no prompt, no header's value, no query string and no credential. It borrows all that it says: nothing is copied before
//! its text is written.

mod text;

pub use text::cut;

use serde::Serialize;

/// Name of the form, the value of `schema`.
pub const SCHEMA: &str = "pailou.receipt/v1";
/// Most candidates of a pick.
pub const MAX_CANDIDATES: usize = 16;
/// Most attempts that a receipt describes: the first ones and the last.
pub const MAX_ATTEMPTS: usize = 8;
/// Most rules that a receipt names as beaten.
pub const MAX_BEATEN: usize = 8;
/// Longest text of a receipt, in bytes; a longer one is cut.
pub const MAX_TEXT: usize = 256;
/// Longest receipt, in bytes. A longer one is written again without the rules beaten and with fewer candidates.
pub const MAX_RECEIPT: usize = 4096;

/// The receipt of one request. Times are milliseconds since its head was read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Receipt<'a> {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The request's id: `X-Request-Id`, or a name of the receipt's own.
    pub request_id: &'a str,
    /// When its head was read, RFC 3339.
    pub time: &'a str,
    /// Why the receipt was kept.
    pub kept: &'static str,
    /// `namespace/gateway/listener`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub listener: &'a str,
    /// The method.
    pub method: &'a str,
    /// The host that the request names.
    pub host: &'a str,
    /// The path without its query.
    pub path: &'a str,
    /// Status of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why the response is not what the backend said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<&'static str>,
    /// More about why, for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// The rule that took it.
    pub rule: RuleMatch<'a>,
    /// Filters of the rule, in the order in which requests pass them, each with the policies that set it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub filters: &'a [String],
    /// Further policies of the rule, each with the objects that set it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub policies: &'a [String],
    /// The model.
    #[serde(skip_serializing_if = "Model::is_empty")]
    pub model: Model<'a>,
    /// The choice of an endpoint, where a picker made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick<'a>>,
    /// Attempts, in their order.
    pub attempts: Vec<Attempt<'a>>,
    /// Number of attempts made.
    pub attempts_made: u32,
    /// The endpoint that computed the prompt for the one that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_endpoint: Option<&'a str>,
    /// Cached tokens of the prompt.
    #[serde(skip_serializing_if = "Cache::is_empty")]
    pub cache: Cache,
    /// Tokens, as the backend counted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<TokenUsage>,
    /// Price of the tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Bytes of the two bodies.
    pub bytes: Bytes,
    /// Times.
    pub timing: Timing,
    /// Something was left out or cut, so that the receipt stays short.
    pub truncated: bool,
}

/// The rule that took a request, and those that did not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RuleMatch<'a> {
    /// The rule, `HTTPRoute namespace/name/rule`; `None` where none matched.
    pub matched: Option<&'a str>,
    /// The match of it, in words.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub by: &'a str,
    /// Other rules of the same host, those that came close.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beaten: Vec<BeatenRule>,
    /// Number of further matches of the host whose path is another.
    pub others: usize,
    /// Reason why `beaten` is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// A rule that a request did not take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BeatenRule {
    /// The rule.
    pub rule: String,
    /// Its match, in words.
    #[serde(rename = "match")]
    pub by: String,
    /// Why not.
    pub why: String,
}

/// Names of a model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Model<'a> {
    /// As the client gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<&'a str>,
    /// As the backend got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<&'a str>,
}

/// The choice of an endpoint of a pool.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pick<'a> {
    /// `namespace/name` of the InferencePool.
    pub pool: &'a str,
    /// The pool's strategy: `load` or `prefix-cache`; `external` where another picker did, which gives no reasons.
    pub strategy: &'static str,
    /// Fullness of the pool: 1 has no room anywhere.
    pub saturation: f32,
    /// Number of endpoints that were judged.
    pub judged: usize,
    /// The best placed, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate<'a>>,
    /// The endpoint that served.
    pub chosen: &'a str,
    /// The next best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<&'a str>,
    /// The greatest share of the prompt that any of them had cached, 0 to 1.
    pub best_prefix: f32,
    /// The way to the prompt's tokens, where cached ones are looked up by them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<PromptTokens>,
    /// The figure that decided.
    pub why: &'static str,
}

/// The way to a prompt's tokens.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PromptTokens {
    /// `in_process`, `engine` or `request`; `estimate` without tokens.
    pub by: &'static str,
    /// As `pailou_prompt_tokenizations` names it.
    pub result: &'static str,
    /// The reason why the gateway itself gave none, as `pailou_prompt_in_process_tokenizations` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_process: Option<&'static str>,
}

/// An endpoint as a pick saw it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Candidate<'a> {
    /// Its name.
    pub endpoint: &'a str,
    /// Higher is better.
    pub score: f32,
    /// Requests in its engine's queue.
    pub queue: f32,
    /// Requests that ran.
    pub running: f32,
    /// Share of its KV cache in use, 0 to 1.
    pub kv: f32,
    /// Share of the prompt that it probably had cached, 0 to 1.
    pub prefix: f32,
    /// The same in tokens, of about 4 bytes.
    pub overlap_tokens: u64,
    /// Its engine's own figures were recent.
    pub fresh: bool,
    /// Why it came last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<&'static str>,
}

/// One attempt at an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Attempt<'a> {
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// When it began.
    pub start: f64,
    /// When the response's head had come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<f64>,
    /// When the first content had come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content: Option<f64>,
    /// When it ended.
    pub end: f64,
    /// The status, or `no response`.
    pub result: AttemptResult,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<&'static str>,
}

/// Result of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AttemptResult {
    /// A backend answered with this status.
    Status(u16),
    /// A word for what there is instead.
    Word(&'static str),
    /// Nothing is known.
    #[default]
    Unknown,
}

/// Cached tokens of a prompt.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cache {
    /// As the picker expected at the endpoint that served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted: Option<u64>,
    /// As the engine counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<u64>,
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TokenUsage {
    /// Of the prompt, cached ones included.
    pub input: u64,
    /// Generated.
    pub output: u64,
    /// Generated for the reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
}

/// Bytes of the bodies.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Bytes {
    /// The request's.
    pub request: u64,
    /// The response's.
    pub response: u64,
}

/// Times of a request, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Timing {
    /// Wait for an endpoint with room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<f64>,
    /// From the head to the first attempt, without the wait: the gateway's own, and filters that ask others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<f64>,
    /// To the response's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<f64>,
    /// To the first content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft: Option<f64>,
    /// To the end.
    pub total: f64,
}

impl Model<'_> {
    fn is_empty(&self) -> bool {
        self.asked.is_none() && self.sent.is_none()
    }
}

impl Cache {
    fn is_empty(&self) -> bool {
        self.predicted.is_none() && self.actual.is_none()
    }
}
