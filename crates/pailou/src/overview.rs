//! A process as a whole, as `/overview` gives it and `pailou top` reads it: `pailou.overview/v1`.
//!
//! Counts are since the start of the process; readers make rates of two samples. What a component does not know is not there.

mod made;
mod objects;
pub(crate) mod pools;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use made::fault;
pub(crate) use made::{of_gateway, of_picker};
pub(crate) use objects::{ObjectsCache, of_files};

/// Name of the form.
pub(crate) const SCHEMA: &str = "pailou.overview/v1";
/// Most models of a sample, the busiest.
pub(crate) const MAX_MODELS: usize = 50;
/// Most InferencePools of a sample, and most Gateways.
pub(crate) const MAX_POOLS: usize = 50;
/// Most endpoints of all pools of a sample together.
pub(crate) const MAX_ENDPOINTS: usize = 500;

/// Most characters of a problem.
const MAX_PROBLEM: usize = 200;

/// A sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Overview {
    pub(crate) schema: String,
    /// Time of the sample, in UTC.
    pub(crate) at: String,
    /// Age of the process, in seconds.
    pub(crate) uptime_seconds: f64,
    pub(crate) version: String,
    /// The pod or host.
    pub(crate) name: String,
    /// `gateway`, `controller` or `picker`.
    pub(crate) kind: String,
    pub(crate) ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<RequestCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latencies>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<TokenCounts>,
    /// Price of the tokens, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<WaitingRequests>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) models: Option<Vec<ModelRow>>,
    /// Models beside those.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) models_omitted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pools: Option<Vec<PoolRow>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) pools_omitted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipts: Option<ReceiptCounts>,
    /// Requests of a picker by outcome.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) picks: BTreeMap<String, u64>,
    /// Gateways that a controller follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gateways: Option<Vec<GatewayRow>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) gateways_omitted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) controller: Option<ControllerCounts>,
    /// Proxies that a controller has asked; the counts are of those that are selected, together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxies: Option<Vec<ProxyRow>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) proxies_omitted: usize,
    /// Number of the series: counts of different ones are not of the same proxies.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) series: u64,
    /// Objects that are not served as asked, or not all of it, and files with problems.
    pub(crate) problems: usize,
    /// Knowledge that this process lacks, and who has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unknown: Option<String>,
}

/// Requests of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RequestCounts {
    pub(crate) active: u64,
    pub(crate) total: u64,
    /// By class of status, of those that a rule answered; `none`: the client disconnected first.
    pub(crate) by_status: BTreeMap<String, u64>,
    /// Failures by whose doing they are: flags, and statuses of 400 and above without one.
    pub(crate) by_fault: BTreeMap<String, u64>,
    pub(crate) flags: BTreeMap<String, u64>,
    pub(crate) unrouted: u64,
}

/// Durations, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Latencies {
    pub(crate) duration: Histogram,
    pub(crate) ttft: Histogram,
    pub(crate) time_per_output_token: Histogram,
    /// Time of the gateway itself.
    pub(crate) overhead: Histogram,
}

/// A histogram.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Histogram {
    /// Upper bounds of all buckets but the last, which has none.
    pub(crate) bounds: Vec<f64>,
    /// Values up to each bound, then all.
    pub(crate) counts: Vec<u64>,
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

/// A mean in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

/// Tokens as backends counted them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TokenCounts {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cached: u64,
    pub(crate) reasoning: u64,
}

/// Requests that wait now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WaitingRequests {
    pub(crate) waiting: u64,
    pub(crate) oldest_wait_seconds: f64,
    /// Since the start, of a pool.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// Those of a pool by priority, the highest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) levels: Vec<WaitingLevel>,
}

/// Requests of one priority that wait now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WaitingLevel {
    pub(crate) priority: i32,
    pub(crate) requests: u32,
    pub(crate) bytes: u64,
    pub(crate) oldest_wait_seconds: f64,
    /// Those with the most requests.
    pub(crate) flows: Vec<WaitingFlow>,
    pub(crate) flows_omitted: usize,
}

/// Requests of one fairness id among them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WaitingFlow {
    /// Missing: several share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) requests: usize,
    pub(crate) oldest_wait_seconds: f64,
}

/// Calls of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ModelRow {
    pub(crate) model: String,
    pub(crate) sent: String,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) client_errors: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) ttft: Sum,
}

/// An InferencePool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PoolRow {
    pub(crate) name: String,
    pub(crate) backend: String,
    /// Fullness, 0 to 1.
    pub(crate) saturation: f32,
    pub(crate) endpoints: Vec<EndpointRow>,
    pub(crate) endpoints_omitted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<WaitingRequests>,
    pub(crate) predicted_tokens: u64,
    pub(crate) cached_tokens: u64,
}

/// An endpoint of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EndpointRow {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) role: String,
    /// `ready`, `ejected`, `unhealthy`, `failing` (it has just failed, and comes last) or `stale` (its load is an estimate).
    pub(crate) state: String,
    pub(crate) problem: Option<String>,
    pub(crate) waiting: f32,
    pub(crate) running: f32,
    pub(crate) kv: f32,
    pub(crate) in_flight: u32,
    /// Requests sent there, each attempt one.
    pub(crate) requests: u64,
    pub(crate) predicted_tokens: u64,
    pub(crate) cached_tokens: u64,
}

/// Routing receipts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ReceiptCounts {
    pub(crate) kept: u64,
    pub(crate) dropped: u64,
}

/// A Gateway of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GatewayRow {
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) listeners: usize,
    pub(crate) attached_routes: u32,
    /// `True`, `False` or `Unknown`.
    pub(crate) accepted: String,
    pub(crate) programmed: String,
    /// Conditions that do not hold, in words.
    pub(crate) problem: Option<String>,
}

/// A proxy of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ProxyRow {
    /// Namespace and name of its pod.
    pub(crate) name: String,
    pub(crate) gateway: String,
    pub(crate) version: String,
    pub(crate) ready: bool,
    /// Age of its process when it answered last, in seconds.
    pub(crate) uptime_seconds: f64,
    pub(crate) active: u64,
    pub(crate) requests: u64,
    pub(crate) problems: usize,
    /// Reason that it gave no sample just now.
    pub(crate) away: Option<String>,
}

/// Work of a controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ControllerCounts {
    pub(crate) leader: bool,
    /// Name of the replica that leads, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_name: Option<String>,
    pub(crate) objects: u64,
    pub(crate) status_writes: BTreeMap<String, u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

/// A problem in at most [`MAX_PROBLEM`] characters: it may be another program's words.
pub(crate) fn short(problem: String) -> String {
    match problem.char_indices().nth(MAX_PROBLEM) {
        Some((end, _)) => format!("{}…", &problem[..end]),
        None => problem,
    }
}

/// Numbers by name.
pub(crate) fn by_name<'a>(rows: impl IntoIterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    rows.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}
