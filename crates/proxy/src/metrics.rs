//! Counters and histograms of the data plane. Labels come from the configuration, or are one of a few words, so their number is bounded.

mod by_route;
pub(crate) mod live;
pub(crate) mod sessions;

use std::{sync::Arc, time::Duration};

use http::Version;
use pailou_config::snapshot::RouteName;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use self::{by_route::ByRoute, sessions::SessionMetrics};
use crate::{error::Flag, forward::Session, record::Record, server::Violation};

/// The data plane's metrics.
pub struct Metrics {
    /// Requests under way.
    pub active: Gauge,
    /// Requests refused or broken off, by response flag.
    flags: Family<FlagLabel, Counter>,
    /// Requests that no rule answered.
    unrouted: Counter,
    violations: Family<ViolationLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabel, Histogram, fn() -> Histogram>,
    first_content: Family<RouteLabel, Histogram, fn() -> Histogram>,
    tokens: Family<TokenLabels, Counter>,
    routes: ByRoute<RouteMetrics>,
    /// Connections that are forwarded as they are, and datagrams.
    pub(crate) sessions: SessionMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Arc<str>,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    route: Arc<str>,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlagLabel {
    flag: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViolationLabels {
    protocol: &'static str,
    code: String,
}

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const INPUT: &str = "input";
const OUTPUT: &str = "output";

/// A rule's series, looked up once and then at hand.
struct RouteMetrics {
    requests: [Counter; CLASSES.len()],
    duration: Histogram,
    first_content: Histogram,
    input_tokens: Counter,
    output_tokens: Counter,
}

impl Metrics {
    /// Registers every metric.
    pub fn new(registry: &mut Registry) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 20));
        let metrics = Self {
            active: Gauge::default(),
            flags: Family::default(),
            unrouted: Counter::default(),
            violations: Family::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            first_content: Family::new_with_constructor(seconds),
            tokens: Family::default(),
            routes: ByRoute::default(),
            sessions: SessionMetrics::default(),
        };
        registry.register("pailou_requests_active", "Requests under way", metrics.active.clone());
        registry.register("pailou_requests", "Requests by rule and class of status", metrics.requests.clone());
        registry.register("pailou_unrouted_requests", "Requests that no rule answered", metrics.unrouted.clone());
        registry.register(
            "pailou_response_flags",
            "Requests that the gateway refused or broke off, by flag",
            metrics.flags.clone(),
        );
        registry.register(
            "pailou_client_protocol_errors",
            "Clients that did not keep to the protocol, by what they were told",
            metrics.violations.clone(),
        );
        registry.register(
            "pailou_request_duration_seconds",
            "From a request's head to its response's end",
            metrics.durations.clone(),
        );
        registry.register(
            "pailou_time_to_first_token_seconds",
            "From a model call's head to the first content of its response",
            metrics.first_content.clone(),
        );
        registry.register("pailou_tokens", "Tokens as the backends counted them", metrics.tokens.clone());
        metrics.sessions.register(registry);
        metrics
    }

    /// Counts a request that has ended after `duration`.
    pub(crate) fn settle(&self, record: &Record, duration: Duration) {
        self.active.dec();
        if let Some(flag) = record.flag {
            self.flag(flag);
        }
        let Some(rule) = &record.rule else {
            self.unrouted.inc();
            return;
        };
        let route = self.route(&rule.route);
        let class = record.status.map_or(0, |status| usize::from(status.as_u16() / 100).min(5));
        route.requests[class].inc();
        route.duration.observe(duration.as_secs_f64());
        if let Some(after) = record.content_after {
            route.first_content.observe(after.as_secs_f64());
        }
        if let Some(usage) = &record.usage {
            route.input_tokens.inc_by(usage.input_tokens);
            route.output_tokens.inc_by(usage.output_tokens);
        }
    }

    /// Counts a forwarded connection, or a client's datagrams, at the end.
    pub(crate) fn settle_session(&self, session: &Session) {
        if let Some(flag) = session.flag {
            self.flag(flag);
        }
        self.sessions.settle(session);
    }

    /// Counts a client that did not keep to the protocol.
    pub(crate) fn violated(&self, violation: &Violation) {
        self.flag(Flag::BadRequest);
        let protocol = if violation.version == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" };
        self.violations.get_or_create(&ViolationLabels { protocol, code: violation.code.clone() }).inc();
    }

    fn flag(&self, flag: Flag) {
        self.flags.get_or_create(&FlagLabel { flag: flag.code() }).inc();
    }

    fn route(&self, name: &RouteName) -> Arc<RouteMetrics> {
        self.routes.get(name, |label| self.made(&label), |label| self.forget(label))
    }

    fn made(&self, label: &Arc<str>) -> RouteMetrics {
        let by_type = |r#type| self.tokens.get_or_create(&TokenLabels { route: label.clone(), r#type }).clone();
        RouteMetrics {
            requests: CLASSES.map(|code| self.requests.get_or_create(&RequestLabels { route: label.clone(), code }).clone()),
            duration: self.durations.get_or_create(&RouteLabel { route: label.clone() }).clone(),
            first_content: self.first_content.get_or_create(&RouteLabel { route: label.clone() }).clone(),
            input_tokens: by_type(INPUT),
            output_tokens: by_type(OUTPUT),
        }
    }

    fn forget(&self, label: &Arc<str>) {
        for code in CLASSES {
            self.requests.remove(&RequestLabels { route: label.clone(), code });
        }
        for r#type in [INPUT, OUTPUT] {
            self.tokens.remove(&TokenLabels { route: label.clone(), r#type });
        }
        self.durations.remove(&RouteLabel { route: label.clone() });
        self.first_content.remove(&RouteLabel { route: label.clone() });
    }
}
