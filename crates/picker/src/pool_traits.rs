//! Properties of a pool that every request asks for.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pailou_snapshot::PickerKind;

use crate::endpoint::Members;

/// Properties of a pool's present members, beside them: to look into those costs two locked operations each time.
#[derive(Default)]
pub(crate) struct PoolTraits {
    has_queueing: AtomicBool,
    queues_at_external_picker: AtomicBool,
    has_prefill: AtomicBool,
}

impl PoolTraits {
    /// Takes those of new members.
    pub(crate) fn update(&self, members: &Members) {
        self.has_queueing.store(members.pool.queueing.is_some(), Relaxed);
        self.queues_at_external_picker.store(matches!(members.pool.picker, PickerKind::External { queues: true, .. }), Relaxed);
        self.has_prefill.store(members.has_prefill, Relaxed);
    }

    /// Whether the pool's requests may wait.
    pub(crate) fn has_queueing(&self) -> bool {
        self.has_queueing.load(Relaxed)
    }

    /// Whether an endpoint picker of the pool's own chooses, in whose queue requests wait.
    pub(crate) fn queues_at_external_picker(&self) -> bool {
        self.queues_at_external_picker.load(Relaxed)
    }

    /// Whether an endpoint prefills for others.
    pub(crate) fn has_prefill(&self) -> bool {
        self.has_prefill.load(Relaxed)
    }
}
