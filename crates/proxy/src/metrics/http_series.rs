//! Series of requests and of attempts at backends, for names of OpenTelemetry's, which tell more of them than Pailou's own do.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::{Method, StatusCode};
use pailou_snapshot::{EndpointKey, RouteName};

use super::{bounded::Bounded, timings::RequestTimings};
use crate::{
    error::Flag,
    http_attributes::{self, HttpRoute, METHOD_COUNT},
    request_record::RequestRecord,
};

/// Requests that differ in a label, and attempts that do, that have series of their own; those beyond share one of each.
const MAX_SERIES: usize = 10_000;

/// Series of requests and attempts.
pub(crate) struct HttpSeries {
    requests: Bounded<RequestKey, RequestTimings>,
    attempts: Bounded<AttemptKey, RequestTimings>,
    active: ActiveRequests,
}

/// Method and scheme of requests under way.
pub(crate) type ActiveKey = (&'static str, &'static str);

/// Requests that have begun and ended, by the number of their method, without and with TLS.
#[derive(Default)]
struct ActiveRequests([[Turnover; 2]; METHOD_COUNT]);

#[derive(Default)]
struct Turnover {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl ActiveRequests {
    fn of(&self, record: &RequestRecord) -> &Turnover {
        &self.0[http_attributes::method_number(&record.method)][usize::from(record.is_tls)]
    }

    /// Those under way, of each method and scheme that there was.
    fn all(&self) -> BTreeMap<ActiveKey, u64> {
        let numbered = self.0.iter().enumerate().flat_map(|(number, both)| both.iter().zip(SCHEMES).map(move |one| (number, one)));
        let seen = numbered.filter_map(|(number, (turnover, scheme))| {
            // The end is read first: no more have ended than have begun.
            let ended = turnover.ended.load(Relaxed);
            let begun = turnover.begun.load(Relaxed);
            (begun > 0).then(|| ((http_attributes::numbered_method(number), scheme), begun.saturating_sub(ended)))
        });
        seen.collect()
    }
}

/// Without and with TLS.
const SCHEMES: [&str; 2] = ["http", "https"];

/// Labels that tell the series of requests apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestKey {
    /// As the conventions have it.
    pub(crate) method: &'static str,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Status that the client got, if any.
    pub(crate) status: Option<u16>,
    /// Why the gateway refused it or broke it off.
    pub(crate) flag: Option<&'static str>,
    /// Path of the match, where it is wanted.
    pub(crate) path: Option<Box<str>>,
    /// The rule.
    pub(crate) route: Option<RouteName>,
}

/// Labels that tell the series of attempts apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttemptKey {
    pub(crate) method: &'static str,
    /// Status that the backend answered with, if any.
    pub(crate) status: Option<u16>,
    /// Why there was none, or why its answer broke off.
    pub(crate) flag: Option<&'static str>,
    pub(crate) backend: EndpointKey,
}

/// Result of an attempt.
#[derive(Clone, Copy)]
pub(crate) struct AttemptResult {
    pub(crate) status: Option<StatusCode>,
    pub(crate) flag: Option<Flag>,
    pub(crate) took: Duration,
}

impl Default for HttpSeries {
    fn default() -> Self {
        Self { requests: Bounded::new(MAX_SERIES), attempts: Bounded::new(MAX_SERIES), active: ActiveRequests::default() }
    }
}

impl fmt::Debug for HttpSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSeries").finish_non_exhaustive()
    }
}

impl HttpSeries {
    /// Counts a request that comes.
    pub(crate) fn begin(&self, record: &RequestRecord) {
        self.active.of(record).begun.fetch_add(1, Relaxed);
    }

    /// Counts a request that has ended after `duration`.
    pub(crate) fn settle(&self, record: &RequestRecord, duration: Duration) {
        self.active.of(record).ended.fetch_add(1, Relaxed);
        let key = RequestKey {
            method: known_method(&record.method),
            scheme: SCHEMES[usize::from(record.is_tls)],
            status: record.status.map(|status| status.as_u16()),
            flag: record.flag.map(Flag::code),
            path: record.http_route.as_ref().map(|path| HttpRoute(path).to_string().into()),
            route: record.rule.as_ref().map(|rule| rule.route.clone()),
        };
        self.requests.with(&key, || key.clone(), |timings| timings.observe(duration));
    }

    /// Counts an attempt that has ended.
    pub(crate) fn settle_attempt(&self, record: &RequestRecord, result: AttemptResult) {
        let Some(cluster) = &record.cluster else { return };
        let key = AttemptKey {
            method: known_method(&record.method),
            status: result.status.map(|status| status.as_u16()),
            flag: result.flag.map(Flag::code),
            backend: cluster.key().endpoints.clone(),
        };
        self.attempts.with(&key, || key.clone(), |timings| timings.observe(result.took));
    }

    /// Requests under way, by method and scheme.
    pub(crate) fn active(&self) -> BTreeMap<ActiveKey, u64> {
        self.active.all()
    }

    /// Reads the series of requests; `None` is the key of those beyond the bound.
    pub(crate) fn each_request(&self, mut read: impl FnMut(Option<&RequestKey>, &RequestTimings)) {
        self.requests.each(|key, timings| read(key, timings));
    }

    /// Reads the series of attempts; `None` is the key of those beyond the bound.
    pub(crate) fn each_attempt(&self, mut read: impl FnMut(Option<&AttemptKey>, &RequestTimings)) {
        self.attempts.each(|key, timings| read(key, timings));
    }
}

fn known_method(method: &Method) -> &'static str {
    http_attributes::method(method).0
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::Version;

    use super::*;

    #[test]
    fn requests_under_way_are_counted_by_method_and_scheme_without_a_lock() {
        let series = HttpSeries::default();
        let record = |method: &str, is_tls: bool| {
            let mut record = RequestRecord::new(SocketAddr::from(([0; 4], 0)), method.parse().unwrap(), Version::HTTP_11);
            record.is_tls = is_tls;
            record
        };
        let all = [record("POST", false), record("POST", true), record("BREW", false), record("POST", false)];
        all.iter().for_each(|record| series.begin(record));
        all[1..3].iter().for_each(|record| series.settle(record, Duration::ZERO));
        let expected = [(("POST", "http"), 2), (("POST", "https"), 0), (("_OTHER", "http"), 0)];
        assert_eq!(series.active(), BTreeMap::from(expected));
    }
}
