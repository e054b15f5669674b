//! Figures of the pool under the names of other pickers.

use std::{fmt, sync::Arc};

use pailou_picker::{MetricNames, PoolReport, encode_pools};
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
        encode_pools(&mut encoder, self.names, pool.into_iter().collect())
    }
}
