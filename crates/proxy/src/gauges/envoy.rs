//! The names that Envoy Gateway's dashboards read, with its names of clusters and listeners. Envoy Gateway makes a cluster of each rule.

mod clusters;
mod downstream;
mod process;

pub(super) use process::note_start;

use std::fmt;

use pailou_telemetry::metric_table::Distribution;
use prometheus_client::encoding::DescriptorEncoder;

use crate::{context::Context, runtime::Runtime, server::Ports};

/// Classes of statuses.
const CLASSES: [&str; 5] = ["1", "2", "3", "4", "5"];

/// Writes all of them.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, context: &Context, runtime: &Runtime, ports: &Ports) -> fmt::Result {
    process::encode(encoder)?;
    downstream::encode(encoder, context, runtime, ports)?;
    clusters::encode(encoder, context, runtime)
}

/// Counters and durations of requests or attempts.
#[derive(Default)]
struct Answered {
    by_class: [u64; CLASSES.len()],
    durations: Option<Distribution>,
}

impl Answered {
    fn add(&mut self, status: Option<u16>, durations: Distribution) {
        if let Some(count) = status.and_then(|status| self.by_class.get_mut(usize::from(status / 100).wrapping_sub(1))) {
            *count += durations.count;
        }
        self.durations = Distribution::total(self.durations.take().into_iter().chain([durations]));
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
