//! Series of requests and of attempts at backends, for names of OpenTelemetry's, which tell more of them than Pailou's own do.

use std::{collections::BTreeMap, fmt, time::Duration};

use http::{Method, StatusCode};
use pailou_snapshot::{EndpointKey, RouteName};

use super::{bounded::Bounded, timings::RequestTimings};
use crate::{
    error::Flag,
    http_attributes::{self, HttpRoute},
    request_record::RequestRecord,
};

/// Requests that differ in a label, and attempts that do, that have series of their own; those beyond share one of each.
const MAX_SERIES: usize = 10_000;

/// Series of requests and attempts.
pub(crate) struct HttpSeries {
    requests: Bounded<RequestKey, RequestTimings>,
    attempts: Bounded<AttemptKey, RequestTimings>,
    /// Requests under way.
    active: parking_lot::Mutex<BTreeMap<ActiveKey, u64>>,
}

/// Method and scheme of requests under way.
pub(crate) type ActiveKey = (&'static str, &'static str);

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
        Self { requests: Bounded::new(MAX_SERIES), attempts: Bounded::new(MAX_SERIES), active: parking_lot::Mutex::default() }
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
        *self.active.lock().entry(active_key(record)).or_default() += 1;
    }

    /// Counts a request that has ended after `duration`.
    pub(crate) fn settle(&self, record: &RequestRecord, duration: Duration) {
        if let Some(active) = self.active.lock().get_mut(&active_key(record)) {
            *active = active.saturating_sub(1);
        }
        let (method, scheme) = active_key(record);
        let key = RequestKey {
            method,
            scheme,
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
        self.active.lock().clone()
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

fn active_key(record: &RequestRecord) -> ActiveKey {
    (known_method(&record.method), if record.is_tls { "https" } else { "http" })
}

fn known_method(method: &Method) -> &'static str {
    http_attributes::method(method).0
}
