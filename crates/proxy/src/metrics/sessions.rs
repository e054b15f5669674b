//! Counters of forwarded connections and of datagrams.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use pailou_telemetry::metric_table;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use smallvec::SmallVec;

use super::by_route::{ByRoute, RouteLabels};
use crate::session_record::SessionRecord;

/// Counters of connections that are forwarded as they are, and of datagrams.
#[derive(Default)]
pub(crate) struct SessionMetrics {
    active: Gauge,
    unrouted: Counter,
    dropped: Family<ReasonLabel, Counter>,
    routes: Arc<ByRoute<Route>>,
}

/// Counters of a rule's sessions.
pub(crate) struct RuleSessions {
    /// The route's kind.
    pub(crate) kind: String,
    /// The rule.
    pub(crate) route: String,
    /// Sessions, bytes sent to backends, bytes received from them.
    pub(crate) counts: [u64; 3],
}

/// Why a datagram was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dropped {
    /// No route, or no endpoint.
    NoEndpoint,
    /// There are as many clients as the listener keeps in mind.
    Full,
    /// The system did not take it.
    Send,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// A rule's series.
#[derive(Default)]
struct Route {
    sessions: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl SessionMetrics {
    /// Registers them.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "pailou_sessions_active",
            "Forwarded connections, and clients that send datagrams, at this moment",
            self.active.clone(),
        );
        registry.register("pailou_unrouted_sessions", "Connections that no rule took", self.unrouted.clone());
        registry.register_collector(Box::new(SessionCollector(self.routes.clone())));
        registry.register("pailou_dropped_datagrams", "Datagrams that were not forwarded, by reason", self.dropped.clone());
    }

    /// Counters of each rule: sessions, bytes sent to backends, bytes received from them.
    pub(crate) fn by_rule(&self) -> Vec<RuleSessions> {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let of_rule = |(labels, series): (RouteLabels, SmallVec<[Arc<Route>; 1]>)| {
            let counts = series.iter().fold([0; 3], |[sessions, sent, received], one| {
                [sessions + read(&one.sessions), sent + read(&one.sent), received + read(&one.received)]
            });
            RuleSessions { kind: labels.kind().1.to_owned(), route: labels.route().1.to_owned(), counts }
        };
        self.routes.labelled().into_iter().map(of_rule).collect()
    }

    /// Counts one that begins.
    pub(crate) fn opened(&self) {
        self.active.inc();
    }

    /// Counts a datagram that goes nowhere.
    pub(crate) fn dropped(&self, why: Dropped) {
        let reason = match why {
            Dropped::NoEndpoint => "no_endpoint",
            Dropped::Full => "full",
            Dropped::Send => "send",
        };
        self.dropped.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts one that has ended.
    pub(super) fn settle(&self, session: &SessionRecord) {
        self.active.dec();
        let Some(route) = &session.route else {
            self.unrouted.inc();
            return;
        };
        self.routes.with(route, |series| {
            series.sessions.fetch_add(1, Relaxed);
            series.sent.fetch_add(session.moved.sent, Relaxed);
            series.received.fetch_add(session.moved.received, Relaxed);
        });
    }
}

/// Reads the series of all rules.
#[derive(Debug)]
struct SessionCollector(Arc<ByRoute<Route>>);

impl Collector for SessionCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.labelled();
        let sum =
            |series: &[Arc<Route>], read: fn(&Route) -> &AtomicU64| series.iter().map(|one| read(one).load(Relaxed)).sum::<u64>();
        let sessions = all.iter().map(|(labels, series)| ([labels.route(), labels.kind()], sum(series, |one| &one.sessions)));
        let help = "Forwarded connections, and clients that sent datagrams, by rule; counted at their end";
        metric_table::counters(&mut encoder, "pailou_sessions", help, sessions)?;
        let bytes = all.iter().flat_map(|(labels, series)| {
            let by_direction = [("sent", sum(series, |one| &one.sent)), ("received", sum(series, |one| &one.received))];
            by_direction.map(|(direction, bytes)| ([labels.route(), labels.kind(), ("direction", direction)], bytes))
        });
        metric_table::counters(&mut encoder, "pailou_session_bytes", "Bytes of them to and from the backends, by rule", bytes)
    }
}
