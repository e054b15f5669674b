//! OTLP's metrics, with the numbers of their definition.

use std::collections::BTreeMap;

use prost::Message as _;
use serde_json::Value as Json;

use super::otlp::{KeyValue, Resource, attributes};

/// A point of a metric, as it was received.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// Name of the metric.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// 1: since the last time. 2: since the beginning. 0: a gauge.
    pub temporality: i32,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// The value; of a histogram the sum.
    pub value: f64,
    /// Values in a histogram.
    pub count: u64,
    /// Values in each bucket of a histogram.
    pub buckets: Vec<u64>,
    /// Upper bounds of the buckets but the last.
    pub bounds: Vec<f64>,
    /// Its attributes.
    pub attributes: BTreeMap<String, Json>,
    /// Attributes of its process.
    pub resource: BTreeMap<String, Json>,
}

/// The points of a request.
///
/// # Panics
/// The message is none.
pub(super) fn points(message: &[u8]) -> Vec<Point> {
    let request = MetricsRequest::decode(message).expect("the message is OTLP's");
    let mut all = Vec::new();
    for of_resource in request.resource_metrics {
        let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
        for metric in of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let Metric { name, unit, gauge, sum, histogram } = metric;
            let named = Point { metric: name, unit, resource: resource.clone(), ..Point::default() };
            for numbers in gauge.into_iter().chain(sum) {
                let of_metric = Point { temporality: numbers.temporality, ..named.clone() };
                all.extend(numbers.points.into_iter().map(|point| Point {
                    start: point.start,
                    value: point.value,
                    attributes: attributes(point.attributes),
                    ..of_metric.clone()
                }));
            }
            if let Some(histograms) = histogram {
                let of_metric = Point { temporality: histograms.temporality, ..named.clone() };
                all.extend(histograms.points.into_iter().map(|point| Point {
                    start: point.start,
                    value: point.sum,
                    count: point.count,
                    buckets: point.counts,
                    bounds: point.bounds,
                    attributes: attributes(point.attributes),
                    ..of_metric.clone()
                }));
            }
        }
    }
    all
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetricsRequest {
    #[prost(message, repeated, tag = "1")]
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeMetrics {
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    unit: String,
    #[prost(message, optional, tag = "5")]
    gauge: Option<Numbers>,
    #[prost(message, optional, tag = "7")]
    sum: Option<Numbers>,
    #[prost(message, optional, tag = "9")]
    histogram: Option<Histograms>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Numbers {
    #[prost(message, repeated, tag = "1")]
    points: Vec<NumberPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NumberPoint {
    #[prost(fixed64, tag = "2")]
    start: u64,
    #[prost(double, tag = "4")]
    value: f64,
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histograms {
    #[prost(message, repeated, tag = "1")]
    points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HistogramPoint {
    #[prost(fixed64, tag = "2")]
    start: u64,
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, tag = "5")]
    sum: f64,
    #[prost(fixed64, repeated, tag = "6")]
    counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    bounds: Vec<f64>,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}
