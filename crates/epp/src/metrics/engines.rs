//! Figures of the pool's endpoints, under the names that the gateway has for them.

use std::sync::{Arc, atomic::AtomicU64};

use pailou_picker::EndpointReport;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

type Figures = Family<EndpointLabel, Gauge<f64, AtomicU64>>;
type Read = fn(&EndpointReport) -> f64;

const FIGURES: [(&str, &str, Read); 5] = [
    ("pailou_endpoint_requests_active", "Requests under way at an endpoint", |report| report.in_flight.into()),
    ("pailou_engine_requests_waiting", "Requests in an engine's queue", |report| report.waiting.into()),
    ("pailou_engine_requests_running", "Requests that an engine runs", |report| report.running.into()),
    ("pailou_engine_kv_cache_usage", "Share of an engine's KV cache in use, 0 to 1", |report| report.kv.into()),
    ("pailou_engine_metrics_fresh", "1 while an engine's own figures are recent", |report| f64::from(u8::from(report.fresh))),
];

/// The figures, as they were when they were last asked for.
#[derive(Debug, Default)]
pub(super) struct Engines([Figures; FIGURES.len()]);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabel {
    endpoint: Arc<str>,
    /// A pod with two ports is two endpoints.
    address: String,
}

impl Engines {
    pub(super) fn register(&self, registry: &mut Registry) {
        for ((name, help, _), family) in FIGURES.iter().zip(&self.0) {
            registry.register(*name, *help, family.clone());
        }
    }

    /// They are these now. Endpoints that have gone leave no series behind.
    pub(super) fn set(&self, reports: &[EndpointReport]) {
        for ((_, _, read), family) in FIGURES.iter().zip(&self.0) {
            family.clear();
            for report in reports {
                let endpoint = report.endpoint.name.clone();
                let address = report.endpoint.address.to_string();
                family.get_or_create(&EndpointLabel { endpoint, address }).set(read(report));
            }
        }
    }
}
