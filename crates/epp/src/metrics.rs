//! The picker's metrics. Labels are outcomes and the pool's pods.

mod engines;
mod exact_prefixes;
mod pool_names;
mod queue;

use pailou_picker::{ExactFigure, MetricNames, PoolReport};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, histogram::exponential_buckets},
    registry::Registry,
};

use engines::Engines;
use exact_prefixes::ExactPrefixes;
use pool_names::PoolNamesCollector;
use queue::QueueCollector;

/// A picker's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<OutcomeLabel, Counter>,
    /// Choices, for names of other pickers.
    attempts: Family<StatusLabel, Counter>,
    /// Conversations under way, each a request or its response.
    pub(crate) conversations: Gauge,
    /// Seconds from a whole request to the choice.
    pub(crate) picks: Histogram,
    engines: Engines,
    exact_prefixes: ExactPrefixes,
    queue: QueueCollector,
    pool_names: PoolNamesCollector,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

/// Outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    Picked,
    /// The pool has no endpoint for it.
    NoEndpoint,
    /// The pool is saturated, and the request does not wait.
    Shed,
    /// It waited for an endpoint with room, and its time ran out.
    Expired,
    /// The picker stopped while it waited.
    Stopped,
    /// The body is longer than is held.
    TooLong,
    /// The bodies of all requests are more than is held.
    NoRoom,
    /// The proxy went away, stalled or did not keep to the protocol.
    Broken,
}

impl RequestOutcome {
    const ALL: [Self; 8] =
        [Self::Picked, Self::NoEndpoint, Self::Shed, Self::Expired, Self::Stopped, Self::TooLong, Self::NoRoom, Self::Broken];

    fn name(self) -> &'static str {
        match self {
            Self::Picked => "picked",
            Self::NoEndpoint => "no_endpoint",
            Self::Shed => "shed",
            Self::Expired => "expired",
            Self::Stopped => "stopped",
            Self::TooLong => "too_long",
            Self::NoRoom => "no_room",
            Self::Broken => "broken",
        }
    }
}

impl Metrics {
    /// Registers every metric, under these names as well.
    pub(crate) fn new(names: MetricNames) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            attempts: Family::default(),
            conversations: Gauge::default(),
            picks: Histogram::new(exponential_buckets(0.000_01, 2.0, 16)),
            engines: Engines::default(),
            exact_prefixes: ExactPrefixes::default(),
            queue: QueueCollector::default(),
            pool_names: PoolNamesCollector::new(names),
        };
        let registry = &mut metrics.registry;
        registry.register("pailou_picker_requests", "Requests by what became of them", metrics.requests.clone());
        registry.register("pailou_picker_conversations", "Requests and responses under way", metrics.conversations.clone());
        let help = "Seconds from a whole request to the choice of its endpoint";
        registry.register("pailou_picker_pick_duration_seconds", help, metrics.picks.clone());
        for (_, set) in
            [(names.inference_extension, "inference_extension"), (names.llm_d, "llm_d_epp")].into_iter().filter(|it| it.0)
        {
            registry.register(format!("{set}_scheduler_e2e_duration_seconds"), help, metrics.picks.clone());
            let help = "Choices of endpoints: success, or failure where there was none or none with room";
            registry.register(format!("{set}_scheduler_attempts"), help, metrics.attempts.clone());
        }
        metrics.engines.register(registry);
        metrics.exact_prefixes.register(registry);
        registry.register_collector(Box::new(metrics.queue.clone()));
        registry.register_collector(Box::new(metrics.pool_names.clone()));
        metrics
    }

    /// Every metric in OpenMetrics' text format, with these figures of the pool, if there is one, and of KV events.
    pub(crate) fn encode(&self, pool: Option<PoolReport>, exact: Vec<ExactFigure>, text: &mut String) {
        self.engines.set(pool.as_ref().map(|pool| &*pool.endpoints).unwrap_or_default());
        self.exact_prefixes.set(exact);
        self.queue.set(pool.as_ref().and_then(|pool| pool.queue.clone()));
        self.pool_names.set(pool);
        // Writing to a String cannot fail.
        let _ = encode(text, &self.registry);
    }

    /// Requests by outcome, of outcomes that there were.
    pub(crate) fn outcomes(&self) -> Vec<(&'static str, u64)> {
        let count = |name| self.requests.get(&OutcomeLabel { outcome: name }).map_or(0, |counter| counter.get());
        RequestOutcome::ALL
            .map(|outcome| (outcome.name(), count(outcome.name())))
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    pub(crate) fn ended(&self, outcome: RequestOutcome) {
        self.requests.get_or_create(&OutcomeLabel { outcome: outcome.name() }).inc();
        let status = match outcome {
            RequestOutcome::Picked => "success",
            RequestOutcome::NoEndpoint | RequestOutcome::Shed | RequestOutcome::Expired => "failure",
            RequestOutcome::Stopped | RequestOutcome::TooLong | RequestOutcome::NoRoom | RequestOutcome::Broken => return,
        };
        self.attempts.get_or_create(&StatusLabel { status }).inc();
    }
}
