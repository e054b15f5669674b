//! Telemetry on its way to one collector: the items that wait, and the numbers of those that got there and of those that did not.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pailou_snapshot::{Batching, Collector};

use crate::{
    envelope::Envelope,
    export_buffer::{AppendOutcome, ExportBuffer},
};

/// Reasons why items do not get to a collector.
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

/// Numbers of all queues of a signal.
#[derive(Debug, Default)]
pub(crate) struct ExportStats {
    exported: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl ExportStats {
    /// Counts items that a collector took.
    pub(crate) fn exported(&self, count: u64) {
        self.exported.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts items that none took.
    pub(crate) fn dropped(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Items that a collector took.
    pub(crate) fn exported_total(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Items that none took.
    pub(crate) fn dropped_total(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }
}

/// Items on their way to a collector.
pub(crate) struct ExportQueue {
    pub(crate) collector: Collector,
    pub(crate) envelope: Envelope,
    pub(crate) buffer: ExportBuffer,
    pub(crate) stats: Arc<ExportStats>,
}

impl ExportQueue {
    pub(crate) fn new(collector: Collector, envelope: Envelope, batching: Batching, stats: Arc<ExportStats>) -> Self {
        Self { collector, envelope, buffer: ExportBuffer::new(batching), stats }
    }

    /// Appends `count` items, which `write` encodes, or counts them as dropped.
    pub(crate) fn append(&self, count: u64, write: impl FnOnce(&mut Vec<u8>)) {
        match self.buffer.append(count, write) {
            AppendOutcome::Taken => {}
            AppendOutcome::Full => self.stats.dropped(DropReason::QueueFull, count),
            AppendOutcome::Closed => self.stats.dropped(DropReason::Shutdown, count),
        }
    }
}

/// A queue that gets items: once neither the configuration nor a request under way holds it, it sends what waits, and ends.
pub(crate) struct OpenQueue(pub(crate) Arc<ExportQueue>);

impl Deref for OpenQueue {
    type Target = ExportQueue;

    fn deref(&self) -> &ExportQueue {
        &self.0
    }
}

impl Drop for OpenQueue {
    fn drop(&mut self) {
        self.0.buffer.close();
    }
}
