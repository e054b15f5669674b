//! A Gateway's tracer: its settings, and the spans that wait for its collector.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pailou_snapshot::Tracing;

use crate::span_buffer::{AppendOutcome, SpanBuffer};

/// Reasons why spans do not get to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// Too many wait.
    QueueFull,
    /// The collector did not take them, and does not want them again.
    Refused,
    /// The collector could not be reached, or asked to come again, for too long.
    Unreachable,
    /// The gateway ended before.
    Shutdown,
}

impl DropReason {
    /// All, in the order of their counters.
    pub(crate) const ALL: [Self; 4] = [Self::QueueFull, Self::Refused, Self::Unreachable, Self::Shutdown];

    /// The label's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Numbers of all tracers of a process.
#[derive(Debug, Default)]
pub(crate) struct TraceStats {
    exported: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl TraceStats {
    /// Counts spans that a collector took.
    pub(crate) fn exported(&self, count: u64) {
        self.exported.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts spans that none took.
    pub(crate) fn dropped(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Spans that a collector took.
    pub(crate) fn exported_total(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that none took.
    pub(crate) fn dropped_total(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }
}

/// A tracer.
pub(crate) struct Tracer {
    pub(crate) settings: Arc<Tracing>,
    pub(crate) buffer: SpanBuffer,
    pub(crate) stats: Arc<TraceStats>,
}

impl Tracer {
    pub(crate) fn new(settings: Arc<Tracing>, stats: Arc<TraceStats>) -> Self {
        let buffer = SpanBuffer::new(settings.batching);
        Self { settings, buffer, stats }
    }

    /// Appends `count` spans, which `write` encodes, or counts them as dropped.
    pub(crate) fn append(&self, count: u64, write: impl FnOnce(&mut Vec<u8>)) {
        match self.buffer.append(count, write) {
            AppendOutcome::Taken => {}
            AppendOutcome::Full => self.stats.dropped(DropReason::QueueFull, count),
            AppendOutcome::Closed => self.stats.dropped(DropReason::Shutdown, count),
        }
    }
}

/// A tracer that gets spans: once neither the configuration nor a request under way holds it, it sends what waits, and ends.
pub(crate) struct OpenTracer(pub(crate) Arc<Tracer>);

impl Deref for OpenTracer {
    type Target = Tracer;

    fn deref(&self) -> &Tracer {
        &self.0
    }
}

impl Drop for OpenTracer {
    fn drop(&mut self) {
        self.0.buffer.close();
    }
}
