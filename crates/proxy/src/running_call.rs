//! A model call under way, counted until it ends.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counts a call for as long as it lives.
pub(crate) struct RunningCall(Arc<AtomicU64>);

impl RunningCall {
    /// One more.
    pub(crate) fn begin(running: &Arc<AtomicU64>) -> Self {
        running.fetch_add(1, Relaxed);
        Self(Arc::clone(running))
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
