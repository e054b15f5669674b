//! Figures of the pool as a whole: of objectives, and under the names of other pickers.

use std::{fmt, sync::Arc};

use pailou_picker::{MetricNames, OBJECTIVES_METRIC, PoolReport, encode_pools};
use pailou_telemetry::metric_table::counters;
use parking_lot::Mutex;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

/// The pool, as it was when it was last asked for.
#[derive(Clone, Debug)]
pub(super) struct PoolNamesCollector {
    names: MetricNames,
    pool: Arc<Mutex<Option<PoolReport>>>,
}

impl PoolNamesCollector {
    pub(super) fn new(names: MetricNames) -> Self {
        Self { names, pool: Arc::default() }
    }

    /// It is this now.
    pub(super) fn set(&self, pool: Option<PoolReport>) {
        *self.pool.lock() = pool;
    }
}

impl Collector for PoolNamesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let pool = self.pool.lock().clone();
        let rows = pool.iter().flat_map(|pool| pool.objectives.rows());
        counters(&mut encoder, OBJECTIVES_METRIC.0, OBJECTIVES_METRIC.1, rows)?;
        encode_pools(&mut encoder, self.names, pool.into_iter().collect())
    }
}
