//! Metrics for a collector.

use std::time::Duration;

use pailou_snapshot::MetricSink;
use pailou_telemetry::{export::Signal, metric_export::Temporality};

use super::{Reader, Variables, collector, resource};
use crate::exit::Error;

/// Settings of metrics for a collector; `None` where there are to be none.
///
/// # Errors
/// No collector could be reached with what a variable says.
pub(crate) fn read(variables: &Variables<'_>) -> Result<Option<MetricSink>, Error> {
    let variables = Reader { variables, signal: Signal::Metrics };
    if variables.is_disabled() || !is_wanted(&variables) {
        return Ok(None);
    }
    let is_delta = is_delta(&variables);
    Ok(Some(MetricSink {
        resource: resource::read(&variables),
        collector: collector(&variables)?,
        temporality: Temporality { counters_are_deltas: is_delta, histograms_are_deltas: is_delta },
        interval: interval(&variables),
        timeout: variables.timeout("OTEL_METRIC_EXPORT_TIMEOUT").unwrap_or(MetricSink::TIMEOUT),
    }))
}

/// Whether there is a collector to send to. The general endpoint is not enough: `/metrics` has the same.
fn is_wanted(variables: &Reader<'_>) -> bool {
    let Some(named) = variables.text("OTEL_METRICS_EXPORTER") else {
        return variables.text("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").is_some();
    };
    let mut is_wanted = false;
    for name in named.split(',').map(str::trim) {
        match name {
            "otlp" => is_wanted = true,
            // The endpoint for Prometheus is there anyway.
            "none" | "prometheus" => {}
            other => tracing::warn!("OTEL_METRICS_EXPORTER: {other:?}: expected otlp, prometheus or none; it is passed over"),
        }
    }
    is_wanted
}

fn is_delta(variables: &Reader<'_>) -> bool {
    let preference = variables.text("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE").map(|text| text.to_ascii_lowercase());
    match preference.as_deref() {
        None | Some("cumulative") => false,
        Some("delta" | "lowmemory") => true,
        Some(other) => {
            tracing::warn!(
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: {other:?}: expected cumulative, delta or lowmemory; cumulative is in force"
            );
            false
        }
    }
}

fn interval(variables: &Reader<'_>) -> Duration {
    variables.timeout("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(MetricSink::INTERVAL)
}

#[cfg(test)]
mod tests {
    use pailou_snapshot::{CollectorTarget, OtlpProtocol};

    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<MetricSink> {
        read(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())).unwrap()
    }

    #[test]
    fn metrics_are_on_where_a_collector_of_metrics_is_named() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector:4318/own");
        assert!(of(&[]).is_none() && of(&[general]).is_none());
        let path = |variables: &[(&str, &str)]| match of(variables).unwrap().collector.target {
            CollectorTarget::Url(url) => url.path.to_string(),
            CollectorTarget::Backends(_) => panic!("a URL"),
        };
        assert_eq!(path(&[general, ("OTEL_METRICS_EXPORTER", "prometheus, otlp")]), "/v1/metrics");
        assert_eq!(path(&[general, own]), "/own");
        for off in [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_SDK_DISABLED", "true")] {
            assert!(of(&[own, off]).is_none(), "{off:?}");
        }
    }

    #[test]
    fn interval_temporality_and_protocol_are_read() {
        let on = ("OTEL_METRICS_EXPORTER", "otlp");
        let plain = of(&[on]).unwrap();
        assert_eq!(
            (plain.interval, plain.timeout, plain.temporality),
            (MetricSink::INTERVAL, MetricSink::TIMEOUT, Temporality::default())
        );
        let set = of(&[
            on,
            ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ]);
        let set = set.unwrap();
        assert_eq!((set.interval, set.temporality.counters_are_deltas), (Duration::from_millis(500), true));
        assert_eq!(set.collector.protocol, OtlpProtocol::Grpc);
    }
}
