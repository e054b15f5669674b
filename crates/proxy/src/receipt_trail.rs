//! Notes of a request under way for its receipt: nothing is allocated for a request that is tried once and not kept.

use std::{sync::Arc, time::Duration};

use pailou_telemetry::receipt_selection::Reason;
use tokio::sync::oneshot;

use crate::stored_receipt::{PastAttempt, RuleNotes, StoredReceipt};

/// Most failed attempts that are noted.
const MAX_PAST: usize = 16;

/// Notes of one request.
#[derive(Default)]
pub(crate) struct Trail {
    /// From the request's head to its first attempt.
    pub(crate) first: Option<Duration>,
    /// From the request's head to the attempt under way.
    pub(crate) current: Option<Duration>,
    /// Whether the receipt is kept, once that has been decided.
    pub(crate) kept: Option<Option<Reason>>,
    /// It would be kept, but there were too many in the second.
    pub(crate) is_dropped: bool,
    /// All that ordinary requests do not have.
    pub(crate) more: Option<Box<More>>,
}

/// Notes of requests that were tried again, or whose receipts are kept.
#[derive(Default)]
pub(crate) struct More {
    /// Attempts that failed before the last one.
    pub(crate) past: Vec<PastAttempt>,
    /// The picker's reasons.
    pub(crate) pick: Option<pailou_picker::Receipt>,
    /// The operator who waits for the receipt.
    pub(crate) tracer: Option<oneshot::Sender<Arc<StoredReceipt>>>,
    /// The rules as the whole head decided.
    pub(crate) rules: Option<RuleNotes>,
}

impl Trail {
    /// Notes that an attempt begins, so long after the request's head.
    pub(crate) fn begin(&mut self, at: Duration) {
        self.first.get_or_insert(at);
        self.current = Some(at);
    }

    /// Notes an attempt that another one follows.
    pub(crate) fn failed(&mut self, endpoint: &Arc<str>, end: Duration, status: Option<u16>, flag: Option<&'static str>) {
        let Some(start) = self.current.take() else { return };
        let past = &mut self.more.get_or_insert_default().past;
        if past.len() < MAX_PAST {
            past.push(PastAttempt { endpoint: Arc::clone(endpoint), start, end, status, flag });
        }
    }

    /// Whether an operator waits for the receipt.
    pub(crate) fn is_traced(&self) -> bool {
        self.kept == Some(Some(Reason::Traced))
    }

    /// Notes that an operator waits for the receipt.
    pub(crate) fn traced(&mut self, tracer: oneshot::Sender<Arc<StoredReceipt>>, rules: RuleNotes) {
        let more = self.more.get_or_insert_default();
        (more.tracer, more.rules) = (Some(tracer), Some(rules));
        (self.kept, self.is_dropped) = (Some(Some(Reason::Traced)), false);
    }

    /// Notes the picker's reasons.
    pub(crate) fn picked(&mut self, pick: pailou_picker::Receipt) {
        self.more.get_or_insert_default().pick = Some(pick);
    }
}
