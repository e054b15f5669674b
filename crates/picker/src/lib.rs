//! Picks the replica of a self-hosted model that serves a request best.
//!
//! A [`PoolState`] holds the state of one InferencePool's endpoints. [`PoolState::pick`] orders them for a request and reserves
//! the best; the [`Picked`] it returns is that reservation, moves to the next best when an endpoint fails, and ends when it
//! drops. In reading order:
//!
//! - `endpoint`, `failures`: one endpoint's record, which the gateway's clusters share with picks;
//! - `pick_request`: a request to pick for; `candidates`: the endpoints that are compared; `pick`: one request, to a reservation;
//! - `load`: an endpoint's present work, from its last scrape and the requests sent and ended since;
//! - `score`: load against prefix and adapter affinity;
//! - `prefix`: beginnings of prompts that each endpoint's cache probably has; `rendezvous`: endpoints that gateways agree on;
//! - `scrape`, `metrics`: engines' own figures, in the few names that a pick needs (`scrape/pending`: from a simulator);
//! - `kv_events`: what engines have cached for certain, by the events they publish;
//! - `tokens`: tokens of prompts, computed here or asked of engines; `speculation`: prompts just sent somewhere; `exact_prefixes`: both and the index, of a pool
//!   that has KV events; `exact_figures`: their metrics;
//! - `queue`: requests that wait while the pool is saturated;
//! - `receipt`: reasons for a choice; `preview`: a choice that nothing comes of;
//! - `terms`: a request's priority and the engine's name for its model, from the pool's objects.

mod candidates;
mod context_length;
mod endpoint;
mod exact_figures;
mod exact_prefixes;
mod failures;
mod judgement;
mod kv_events;
mod latency;
mod load;
mod metric_names;
mod metrics;
mod new_prompts;
mod objective;
mod pick;
mod pick_request;
mod picked;
mod pool_metrics;
mod pool_traits;
mod prefix;
mod preview;
mod queue;
mod receipt;
mod rendezvous;
mod room;
mod score;
mod scrape;
mod speculation;
mod state;
mod terms;
#[cfg(test)]
mod testing;
mod timed;
mod tokens;
mod weighted_score;

pub use self::endpoint::{EndpointRecord, PoolEndpoint};
pub use self::exact_figures::ExactFigure;
pub use self::failures::{Failures, FailuresInARow};
pub use self::metric_names::MetricNames;
pub use self::objective::{OBJECTIVES_METRIC, Objective, ObjectiveTotals, TPOT_HEADERS, TTFT_HEADERS};
pub use self::pick_request::{Affinity, DROPPED_REASON_HEADER, PickError, PickRequest, Stage};
pub use self::picked::Picked;
pub use self::pool_metrics::{PoolReport, encode_pools};
pub use self::queue::{
    Eviction, QUEUE_GAUGES, QUEUE_OUTCOMES, QUEUE_WAITS, QueueCounts, QueueFlow, QueueGauge, QueueLevel, QueueOutcome, QueueReport,
    QueueTerms, priority_label,
};
pub use self::receipt::{Receipt, Scored};
pub use self::scrape::{Connecting, PendingScrape, Stream, Transport};
pub use self::state::{EndpointReport, PoolState};
pub use self::terms::{FAIRNESS_HEADER, OBJECTIVE_HEADERS, TIMEOUT_HEADER, criticality, priority, queue_timeout, target_name};
pub use self::tokens::{
    PromptForm, PromptPermits, PromptTokenizer, PromptTokens, TokenQuestion, TokenSource, TokenSourceError, TokensWay,
};
#[cfg(feature = "simulation")]
pub use self::{kv_events::EventFeed, queue::QueueClock};
