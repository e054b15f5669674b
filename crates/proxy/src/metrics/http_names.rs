//! Metrics of requests under the names of OpenTelemetry's conventions for HTTP, as Prometheus has them.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use pailou_telemetry::metric_table::{Distribution, gauges, histograms};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::http_series::{AttemptKey, HttpSeries, RequestKey};

/// Labels of all beyond the bound.
const OTHER: &str = "other";

/// Reads the series of all requests and attempts.
#[derive(Debug)]
pub(super) struct HttpNamesCollector(pub(super) Arc<HttpSeries>);

type Label = (&'static str, Cow<'static, str>);
/// Rows by their labels; names of rules that are others' numbers may make several series one row.
type Rows<const N: usize> = BTreeMap<[Label; N], Vec<Distribution>>;

impl Collector for HttpNamesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(series) = self;
        let mut requests = Rows::new();
        series.each_request(|key, one| requests.entry(request_labels(key)).or_default().push(one.distribution()));
        let help = "From a request's head to its response's end";
        write(&mut encoder, "http_server_request_duration_seconds", help, requests)?;
        let active = series.active();
        let rows = active
            .iter()
            .map(|((method, scheme), count)| ([("http_request_method", *method), ("url_scheme", *scheme)], *count as f64));
        gauges(&mut encoder, "http_server_active_requests", "Requests under way", rows)?;
        let mut attempts = Rows::new();
        series.each_attempt(|key, one| attempts.entry(attempt_labels(key)).or_default().push(one.distribution()));
        let help = "From an attempt's begin to its failure, or to its response's end";
        write(&mut encoder, "http_client_request_duration_seconds", help, attempts)
    }
}

fn write<const N: usize>(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, rows: Rows<N>) -> fmt::Result {
    let rows = rows.iter().filter_map(|(labels, all)| {
        let labels = labels.each_ref().map(|(label, value)| (*label, &**value));
        Some((labels, Distribution::total(all.iter().cloned())?))
    });
    histograms(encoder, name, help, rows)
}

fn request_labels(key: Option<&RequestKey>) -> [Label; 7] {
    let Some(key) = key else {
        let other = |label| (label, Cow::Borrowed(OTHER));
        return REQUEST_LABELS.map(other);
    };
    let route = key.route.as_ref();
    let values = [
        key.method.into(),
        key.scheme.into(),
        key.status.map_or(Cow::Borrowed(""), |status| status.to_string().into()),
        key.path.as_ref().map_or(Cow::Borrowed(""), |path| path.to_string().into()),
        error_type(key.flag, key.status, 500),
        route.map_or(Cow::Borrowed(""), |route| route.to_string().into()),
        route.map_or("", |route| route.kind.name()).into(),
    ];
    zip(REQUEST_LABELS, values)
}

fn attempt_labels(key: Option<&AttemptKey>) -> [Label; 4] {
    let Some(key) = key else {
        return ATTEMPT_LABELS.map(|label| (label, Cow::Borrowed(OTHER)));
    };
    let values = [
        key.method.into(),
        key.status.map_or(Cow::Borrowed(""), |status| status.to_string().into()),
        error_type(key.flag, key.status, 400),
        key.backend.to_string().into(),
    ];
    zip(ATTEMPT_LABELS, values)
}

const REQUEST_LABELS: [&str; 7] =
    ["http_request_method", "url_scheme", "http_response_status_code", "http_route", "error_type", "route", "kind"];
const ATTEMPT_LABELS: [&str; 4] = ["http_request_method", "http_response_status_code", "error_type", "backend"];

fn zip<const N: usize>(names: [&'static str; N], values: [Cow<'static, str>; N]) -> [Label; N] {
    let mut values = values.into_iter();
    names.map(|name| (name, values.next().unwrap_or_default()))
}

/// The flag, or a status that is an error for this side; empty where there is none.
fn error_type(flag: Option<&'static str>, status: Option<u16>, least: u16) -> Cow<'static, str> {
    match (flag, status) {
        (Some(flag), _) => flag.into(),
        (None, Some(status)) if status >= least => status.to_string().into(),
        _ => "".into(),
    }
}
