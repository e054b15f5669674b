//! Series by rule, within bounds.

use std::sync::Arc;

use foldhash::HashMap;
use pailou_config::snapshot::RouteName;
use parking_lot::RwLock;

/// Rules that have series of their own; those beyond share one.
const MAX_ROUTES: usize = 10_000;

/// The series of each rule, looked up once and then at hand.
pub(super) struct ByRoute<T>(RwLock<HashMap<RouteName, Arc<T>>>);

impl<T> Default for ByRoute<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> ByRoute<T> {
    /// A rule's series; `make` makes them under a label, which those beyond the bound share.
    pub(super) fn get(&self, name: &RouteName, make: impl FnOnce(Arc<str>) -> T) -> Arc<T> {
        if let Some(series) = self.0.read().get(name) {
            return series.clone();
        }
        let mut all = self.0.write();
        if all.len() >= MAX_ROUTES {
            return Arc::new(make("other".into()));
        }
        let series = Arc::new(make(name.to_string().into()));
        all.insert(name.clone(), series.clone());
        series
    }
}
