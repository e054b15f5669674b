//! Counters and histograms of the data plane. Labels come from the configuration, or are one of a few words, so their number is bounded.

mod bounded;
mod by_model;
mod by_route;
mod durations;
pub(crate) mod envoy_series;
mod exemplars;
mod faults;
mod figures;
mod gen_ai;
mod http_names;
pub(crate) mod http_series;
mod model_series;
pub(crate) mod opened_connections;
mod prefills;
mod quantities;
mod request_names;
mod requests;
pub(crate) mod sessions;
mod timings;

use std::{fmt, sync::Arc, time::Duration};

use pailou_picker::MetricNames;
use pailou_snapshot::RouteName;
use pailou_telemetry::metric_table::{Distribution, histograms};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

pub use self::figures::{ModelFigures, ModelTotals, RequestTotals, RuleFigures};
use self::{
    by_model::ByModel,
    by_route::ByRoute,
    envoy_series::EnvoySeries,
    exemplars::{Example, Exemplars},
    faults::Faults,
    gen_ai::GenAiCollector,
    http_names::HttpNamesCollector,
    http_series::HttpSeries,
    prefills::Prefills,
    request_names::RequestNamesCollector,
    requests::{RequestCollector, Requests},
    sessions::SessionMetrics,
    timings::WorkTimings,
};
pub(crate) use self::{http_series::AttemptResult, prefills::PrefillOutcome};
use crate::{
    error::{Cause, Flag},
    request_record::RequestRecord,
    response_cost::UnknownCost,
    running_call::RunningCall,
    server::{HandshakeReason, Violation},
    session_record::SessionRecord,
};

/// The data plane's metrics.
pub struct Metrics {
    /// Requests under way.
    pub active: Gauge,
    /// Requests refused or broken off, by response flag.
    flags: Family<FlagLabel, Counter>,
    /// Failures, with a flag or without.
    faults: Faults,
    /// Requests that no rule answered.
    unrouted: Counter,
    violations: Family<ViolationLabels, Counter>,
    handshakes: Family<HandshakeLabel, Counter>,
    /// Requests under a retry policy that are sent once only, since their body is too long to be kept or there is no room for it.
    pub(crate) retry_abandoned: Counter,
    /// Copies for mirrors that were not sent, or not to their end.
    pub(crate) mirrors_dropped: Counter,
    /// Requests beyond a limit that only counts.
    pub(crate) shadowed_limits: Counter,
    /// Prefills apart from decodes.
    pub(crate) prefills: Prefills,
    /// Requests for models without a price, where models have prices.
    pub(crate) unpriced_requests: Counter,
    /// Responses whose cost could not be computed.
    unknown_costs: Counter,
    /// Connections beyond a listener's limit.
    pub(crate) refused_connections: Counter,
    requests: Arc<ByRoute<Requests>>,
    models: Arc<ByModel>,
    exemplars: Exemplars,
    /// Time that requests spent in the gateway itself.
    overhead: Arc<WorkTimings>,
    /// Requests and attempts, for OpenTelemetry's names.
    http: Arc<HttpSeries>,
    /// The same for Envoy Gateway's.
    pub(crate) envoy: EnvoySeries,
    /// Names that metrics have as well.
    pub(crate) names: MetricNames,
    /// Connections that are forwarded as they are, and datagrams.
    pub(crate) sessions: SessionMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlagLabel {
    flag: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViolationLabels {
    protocol: &'static str,
    code: String,
}

impl Metrics {
    /// Registers every metric, under these names as well.
    pub fn new(registry: &mut Registry, names: MetricNames) -> Self {
        let metrics = Self {
            active: Gauge::default(),
            flags: Family::default(),
            faults: Faults::default(),
            unrouted: Counter::default(),
            violations: Family::default(),
            handshakes: Family::default(),
            retry_abandoned: Counter::default(),
            mirrors_dropped: Counter::default(),
            shadowed_limits: Counter::default(),
            prefills: Prefills::default(),
            unpriced_requests: Counter::default(),
            unknown_costs: Counter::default(),
            refused_connections: Counter::default(),
            requests: Arc::default(),
            models: Arc::default(),
            exemplars: Exemplars::default(),
            overhead: Arc::default(),
            http: Arc::default(),
            envoy: EnvoySeries::default(),
            names,
            sessions: SessionMetrics::default(),
        };
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("pailou_requests_active", "Requests under way", self.active.clone());
        registry.register("pailou_unrouted_requests", "Requests that no rule answered", self.unrouted.clone());
        registry.register("pailou_response_flags", "Requests that the gateway refused or broke off, by flag", self.flags.clone());
        registry.register(
            "pailou_client_protocol_errors",
            "Clients that did not keep to the protocol, by what they were told",
            self.violations.clone(),
        );
        registry.register(
            "pailou_refused_connections",
            "Connections of clients beyond a limit, which were closed",
            self.refused_connections.clone(),
        );
        registry.register(
            "pailou_tls_handshake_failures",
            "TLS handshakes of clients that failed, by reason",
            self.handshakes.clone(),
        );
        registry.register(
            "pailou_mirrors_dropped",
            "Copies for mirrors that were not sent, or not to their end: the mirror is slow, or there is no room or endpoint",
            self.mirrors_dropped.clone(),
        );
        registry.register(
            "pailou_rate_limit_shadowed",
            "Requests beyond a limit that only counts (shadowMode)",
            self.shadowed_limits.clone(),
        );
        registry.register(
            "pailou_unpriced_requests",
            "Requests for models without a price, of Gateways that have prices",
            self.unpriced_requests.clone(),
        );
        registry.register(
            "pailou_llm_cost_failures",
            "Costs of responses that could not be computed: the total tokens were charged",
            self.unknown_costs.clone(),
        );
        registry.register(
            "pailou_retry_abandoned",
            "Requests sent once only although a retry policy applies: their body is too long to be kept, or there is no room",
            self.retry_abandoned.clone(),
        );
        self.prefills.register(registry);
        registry.register_collector(Box::new(RequestCollector(self.requests.clone())));
        registry.register_collector(Box::new(GenAiCollector { models: self.models.clone(), is_ack: self.names.ack }));
        registry.register_collector(Box::new(OverheadCollector(self.overhead.clone())));
        if self.names.http {
            registry.register_collector(Box::new(HttpNamesCollector(self.http.clone())));
        }
        if self.names.has_calls() {
            let models = self.models.clone();
            registry.register_collector(Box::new(RequestNamesCollector { models, names: self.names }));
        }
        self.sessions.register(registry);
    }

    /// Counts a request that comes, for names that tell of those under way.
    pub(crate) fn begin(&self, record: &RequestRecord) {
        if self.names.http {
            self.http.begin(record);
        }
    }

    /// Counts an attempt that has ended.
    pub(crate) fn settle_attempt(&self, record: &RequestRecord, result: AttemptResult) {
        if self.names.http {
            self.http.settle_attempt(record, result);
        }
        if self.names.envoy_gateway {
            self.envoy.settle_attempt(record, result);
        }
    }

    /// Counts a request that has ended after `duration`.
    pub(crate) fn settle(&self, record: &RequestRecord, duration: Duration) {
        self.active.dec();
        if let Some(worked) = record.worked {
            self.overhead.observe(worked);
        }
        if self.names.http {
            self.http.settle(record, duration);
        }
        if self.names.envoy_gateway {
            self.envoy.settle(record, duration);
        }
        match record.flag {
            Some(flag) => self.flag(flag),
            None => self.faults.settle(record),
        }
        let Some(rule) = &record.rule else {
            self.unrouted.inc();
            return;
        };
        self.requests.with(&rule.route, |series| series.settle(record, duration));
        self.models.settle(record, duration);
        if let Some(trace) = record.trace.as_ref().filter(|trace| trace.kept.is_some()) {
            let example = Example { trace_id: trace.trace_id, time: record.time + duration };
            requests::note(&self.exemplars, record, duration, example);
            gen_ai::note(&self.exemplars, record, duration, example);
        }
    }

    /// Adds exemplars to metrics in OpenMetrics' format.
    pub(crate) fn add_exemplars(&self, text: &mut String) {
        self.exemplars.add_to(text);
    }

    /// Counts a model call that goes to an endpoint now, for names that tell how many are under way.
    pub(crate) fn begin_call(&self, record: &RequestRecord) -> Option<RunningCall> {
        if self.names.has_calls() { self.models.begin(record) } else { None }
    }

    /// Counts a forwarded connection, or a client's datagrams, at the end.
    pub(crate) fn settle_session(&self, session: &SessionRecord) {
        if let Some(flag) = session.flag {
            self.flag(flag);
        }
        self.sessions.settle(session);
    }

    /// Counts a client that did not keep to the protocol.
    pub(crate) fn violated(&self, violation: &Violation) {
        self.flag(Flag::BadRequest);
        let protocol = violation.protocol;
        self.violations.get_or_create(&ViolationLabels { protocol, code: violation.code.clone() }).inc();
    }

    /// Counts a client's TLS handshake that failed, its flag too unless a session's record has it.
    pub(crate) fn handshake_failed(&self, reason: HandshakeReason, is_alone: bool) {
        if is_alone {
            self.flag(Flag::TlsHandshake);
        }
        self.handshakes.get_or_create(&HandshakeLabel { reason: reason.as_str() }).inc();
    }

    /// Counts a cost that could not be computed, and reports the first, the second, the fourth and so on.
    pub(crate) fn unknown_cost(&self, unknown: &UnknownCost) {
        let UnknownCost { key, failure } = unknown;
        let count = self.unknown_costs.inc() + 1;
        if count.is_power_of_two() {
            tracing::warn!(count, "cost {key} of io.envoy.ai_gateway: {failure}; the total tokens were charged in its place");
        }
    }

    /// Requests of all rules.
    pub(crate) fn request_totals(&self) -> RequestTotals {
        requests::total(&self.requests.all())
    }

    /// Calls of all models, and the figures of those with most, at most so many.
    pub(crate) fn model_totals(&self, most: usize) -> ModelTotals {
        self.models.totals(most)
    }

    /// Requests of a rule; `None` where it had none, or is one of those beyond the bound.
    pub(crate) fn rule(&self, name: &RouteName) -> Option<RuleFigures> {
        self.requests.find(name).map(|series| series.figures())
    }

    /// Time of the gateway itself for requests.
    pub(crate) fn overhead(&self) -> Distribution {
        self.overhead.distribution()
    }

    /// Requests that no rule answered.
    pub(crate) fn unrouted(&self) -> u64 {
        self.unrouted.get()
    }

    /// Counts of the flags that were counted.
    pub(crate) fn flagged(&self) -> Vec<(Flag, u64)> {
        let count = |flag: Flag| self.flags.get(&FlagLabel { flag: flag.code() }).map_or(0, |counter| counter.get());
        Flag::ALL.into_iter().map(|flag| (flag, count(flag))).filter(|(_, count)| *count > 0).collect()
    }

    /// Failed requests, by whose doing it is.
    pub(crate) fn faults(&self) -> [(Cause, u64); Cause::ALL.len()] {
        self.faults.all()
    }

    fn flag(&self, flag: Flag) {
        self.faults.flagged(flag);
        self.flags.get_or_create(&FlagLabel { flag: flag.code() }).inc();
    }
}

/// Reads the time that requests spent in the gateway itself.
#[derive(Debug)]
struct OverheadCollector(Arc<WorkTimings>);

impl Collector for OverheadCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time for which the gateway itself worked on a request, until it had the response's head";
        histograms(&mut encoder, "pailou_gateway_overhead_seconds", help, [([("process", "pailou")], self.0.distribution())])
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::{Method, Version};

    use super::*;

    #[test]
    fn requests_are_counted_only_for_the_names_that_are_wanted() {
        let record = RequestRecord::new(SocketAddr::from(([0; 4], 0)), Method::GET, Version::HTTP_11);
        let counted = |names| {
            let metrics = Metrics::new(&mut Registry::default(), names);
            metrics.begin(&record);
            let active = metrics.http.active().values().sum::<u64>();
            metrics.settle(&record, Duration::ZERO);
            let (mut requests, mut ports) = (0, 0);
            metrics.http.each_request(|_, _| requests += 1);
            metrics.envoy.each_port(|_, _| ports += 1);
            (active, requests, ports)
        };
        let none = MetricNames::default();
        assert_eq!(counted(none), (0, 0, 0));
        assert_eq!(counted(MetricNames { http: true, ..none }), (1, 1, 0));
        assert_eq!(counted(MetricNames { envoy_gateway: true, ..none }), (0, 0, 1));
    }
}
