//! A Gateway's tracer: its settings, and the spans that wait for its collector.

use std::sync::Arc;

use pailou_snapshot::Tracing;

use crate::export_queue::OpenQueue;

/// A tracer that gets spans.
pub(crate) struct Tracer {
    pub(crate) settings: Arc<Tracing>,
    pub(crate) queue: OpenQueue,
}
