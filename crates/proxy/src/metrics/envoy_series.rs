//! Series of requests by port and of attempts by rule, for the names that Envoy Gateway's dashboards read.
//!
//! A rule's totals must not fall while it has them, as Prometheus takes a fall for a new beginning. So they are not sums of finer series, of
//! which some make room.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use pailou_snapshot::RouteName;
use parking_lot::Mutex;

use super::{AttemptResult, bounded::Bounded, opened_connections::OpenedConnections, timings::RequestTimings};
use crate::{error::Flag, request_record::RequestRecord};

/// Classes of statuses.
pub(crate) const CLASSES: [&str; 5] = ["1", "2", "3", "4", "5"];
/// Rules that have series of their own; those beyond share one.
pub(crate) const MAX_CLUSTERS: usize = 10_000;
/// Ports that have, likewise.
const MAX_PORTS: usize = 1_000;

/// Series of requests and attempts.
pub(crate) struct EnvoySeries {
    ports: Bounded<PortKey, EnvoyPort>,
    clusters: Bounded<RouteName, EnvoyCluster>,
    /// Only read by who asks for metrics.
    pub(crate) opened: Mutex<OpenedConnections>,
}

/// A port that clients come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortKey {
    pub(crate) is_tls: bool,
    pub(crate) port: u16,
}

/// Requests that came by a port, and bytes of their bodies.
#[derive(Default)]
pub(crate) struct EnvoyPort {
    pub(crate) requests: Answered,
    pub(crate) request_bytes: AtomicU64,
    pub(crate) response_bytes: AtomicU64,
}

/// Attempts of a rule, and bytes of the bodies of requests that had some.
#[derive(Default)]
pub(crate) struct EnvoyCluster {
    pub(crate) attempts: Answered,
    pub(crate) request_bytes: AtomicU64,
    pub(crate) response_bytes: AtomicU64,
}

/// Counters and durations of requests or attempts.
#[derive(Default)]
pub(crate) struct Answered {
    by_class: [AtomicU64; CLASSES.len()],
    pub(crate) durations: RequestTimings,
}

impl Answered {
    fn observe(&self, status: Option<StatusCode>, duration: Duration) {
        if let Some(count) = status.and_then(|status| self.by_class.get(usize::from(status.as_u16() / 100).wrapping_sub(1))) {
            count.fetch_add(1, Relaxed);
        }
        self.durations.observe(duration);
    }

    /// In the order of [`CLASSES`].
    pub(crate) fn by_class(&self) -> [u64; CLASSES.len()] {
        self.by_class.each_ref().map(|count| count.load(Relaxed))
    }
}

impl Default for EnvoySeries {
    fn default() -> Self {
        Self { ports: Bounded::new(MAX_PORTS), clusters: Bounded::new(MAX_CLUSTERS), opened: Mutex::default() }
    }
}

impl fmt::Debug for EnvoySeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvoySeries").finish_non_exhaustive()
    }
}

impl EnvoySeries {
    /// Counts a request that has ended after `duration`.
    pub(crate) fn settle(&self, record: &RequestRecord, duration: Duration) {
        let key = PortKey { is_tls: record.is_tls, port: record.port };
        self.ports.with(
            &key,
            || key,
            |port| {
                port.requests.observe(record.status, duration);
                port.request_bytes.fetch_add(record.request_bytes, Relaxed);
                port.response_bytes.fetch_add(record.response_bytes, Relaxed);
            },
        );
        let Some(rule) = record.rule.as_ref().filter(|_| went_upstream(record)) else { return };
        self.clusters.with(
            &rule.route,
            || rule.route.clone(),
            |cluster| {
                cluster.request_bytes.fetch_add(record.request_bytes, Relaxed);
                cluster.response_bytes.fetch_add(record.response_bytes, Relaxed);
            },
        );
    }

    /// Counts an attempt that has ended.
    pub(crate) fn settle_attempt(&self, record: &RequestRecord, result: AttemptResult) {
        let Some(rule) = &record.rule else { return };
        let count = |cluster: &Arc<EnvoyCluster>| cluster.attempts.observe(result.status, result.took);
        self.clusters.with(&rule.route, || rule.route.clone(), count);
    }

    /// Reads the series of ports; `None` is the key of those beyond the bound.
    pub(crate) fn each_port(&self, mut read: impl FnMut(Option<&PortKey>, &EnvoyPort)) {
        self.ports.each(|key, port| read(key, port));
    }

    /// Reads the series of rules; `None` is the key of those beyond the bound.
    pub(crate) fn each_cluster(&self, mut read: impl FnMut(Option<&RouteName>, &EnvoyCluster)) {
        self.clusters.each(|rule, cluster| read(rule, cluster));
    }
}

/// Whether a backend got the request; where the last attempt had no connection, it did not answer.
fn went_upstream(record: &RequestRecord) -> bool {
    record.attempts > 0 && record.flag != Some(Flag::ConnectFailure)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::SocketAddr};

    use http::{Method, Version};
    use pailou_snapshot::{Action, Backends, Filters, Name, RouteKind, Rule, RulePolicy};

    use super::*;

    fn route(number: usize) -> RouteName {
        RouteName { kind: RouteKind::Http, name: Name::new("shop", &format!("r{number}")), rule: 0, rule_name: None }
    }

    /// A request that an endpoint answered.
    fn record(number: usize) -> RequestRecord {
        let rule = Rule {
            route: route(number),
            filters: Arc::new(Filters::default()),
            action: Action::Forward(Backends::default()),
            policy: Arc::new(RulePolicy::default()),
            session: None,
            needs_body: false,
            numbered_matches: Box::default(),
        };
        let mut record = RequestRecord::new(SocketAddr::from(([0; 4], 0)), Method::GET, Version::HTTP_11);
        (record.rule, record.attempts, record.request_bytes) = (Some(Arc::new(rule)), 1, 3);
        record
    }

    fn totals(series: &EnvoySeries) -> BTreeMap<Option<RouteName>, (u64, u64)> {
        let mut all = BTreeMap::new();
        series.each_cluster(|rule, cluster| {
            all.insert(rule.cloned(), (cluster.attempts.durations.distribution().count, cluster.request_bytes.load(Relaxed)));
        });
        all
    }

    /// None of a rule's counters makes room while the rule is used, in whatever its requests differ.
    #[test]
    fn totals_of_a_rule_do_not_fall() {
        let series = EnvoySeries::default();
        let settle = |record: &RequestRecord, status: Option<u16>| {
            let status = status.map(|status| StatusCode::from_u16(status).unwrap());
            series.settle_attempt(record, AttemptResult { status, flag: None, took: Duration::from_millis(1) });
            series.settle(record, Duration::from_millis(1));
        };
        let mut used = record(0);
        for status in [Some(200), Some(404), Some(503), None] {
            used.status = status.map(|status| StatusCode::from_u16(status).unwrap());
            settle(&used, status);
        }
        for number in 1..MAX_CLUSTERS {
            settle(&record(number), Some(200));
        }
        assert_eq!(totals(&series)[&Some(route(0))], (4, 12));
        // Those of the first round are swept in the second.
        for number in MAX_CLUSTERS..MAX_CLUSTERS + 2 {
            series.clusters.allow_sweep();
            settle(&record(number), Some(200));
            settle(&used, Some(200));
        }
        let after = totals(&series);
        assert!(after.len() < 5, "{}", after.len());
        assert_eq!(after[&Some(route(0))], (6, 18));
        series.each_port(|_, port| {
            assert_eq!(port.requests.by_class(), [0, 1, 0, 1, 1]);
            assert_eq!(port.requests.durations.distribution().count, MAX_CLUSTERS as u64 + 7);
        });
    }
}
