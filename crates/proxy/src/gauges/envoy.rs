//! The names that Envoy Gateway's dashboards read, with its names of clusters and listeners. Envoy Gateway makes a cluster of each rule.

mod clusters;
mod downstream;
mod process;

pub(super) use process::note_start;

use std::fmt;

use pailou_telemetry::metric_table::Distribution;
use prometheus_client::encoding::DescriptorEncoder;

use crate::{
    context::Context,
    metrics::envoy_series::{Answered, CLASSES},
    runtime::Runtime,
    server::Ports,
};

/// Writes all of them.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, context: &Context, runtime: &Runtime, ports: &Ports) -> fmt::Result {
    process::encode(encoder)?;
    downstream::encode(encoder, context, runtime, ports)?;
    clusters::encode(encoder, context, runtime)
}

/// Counters and durations of requests or attempts, of series whose labels are the same.
#[derive(Default)]
struct Total {
    by_class: [u64; CLASSES.len()],
    durations: Option<Distribution>,
}

impl Total {
    fn add(&mut self, answered: &Answered) {
        self.by_class.iter_mut().zip(answered.by_class()).for_each(|(sum, count)| *sum += count);
        self.durations = Distribution::total(self.durations.take().into_iter().chain([answered.durations.distribution()]));
    }

    fn count(&self) -> u64 {
        self.durations.as_ref().map_or(0, |durations| durations.count)
    }

    /// Durations as Envoy has them.
    fn in_milliseconds(&self) -> Option<Distribution> {
        let Distribution { sum, count, buckets } = self.durations.as_ref()?;
        let buckets = buckets.iter().map(|(bound, count)| (bound * 1e3, *count)).collect();
        Some(Distribution { sum: sum * 1e3, count: *count, buckets })
    }
}
