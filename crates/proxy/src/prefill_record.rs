//! Data of a prefill at another endpoint, kept for requests whose traces are.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use http::StatusCode;
use pailou_ai::Usage;

use crate::attempt_record::AttemptRecord;

/// One prefill. Its own task ends it, which may be after the request.
pub(crate) struct PrefillRecord {
    /// The request to the endpoint.
    pub(crate) attempt: AttemptRecord,
    /// Its end, once it has ended.
    pub(crate) end: Arc<OnceLock<PrefillEnd>>,
}

/// End of a prefill.
pub(crate) struct PrefillEnd {
    pub(crate) took: Duration,
    /// The response's status, if one came.
    pub(crate) status: Option<StatusCode>,
    /// Code of why it failed; the status tells it where there is one of an error.
    pub(crate) error: Option<&'static str>,
    /// Tokens as the endpoint counted them.
    pub(crate) usage: Option<Usage>,
}

/// Span of a prefill under way. One that is dropped has been given up.
pub(crate) struct PrefillSpan {
    started: Instant,
    end: Arc<OnceLock<PrefillEnd>>,
}

impl PrefillSpan {
    /// The span of a prefill that begins, and its record.
    pub(crate) fn begin(attempt: AttemptRecord) -> (Self, PrefillRecord) {
        let end = Arc::new(OnceLock::new());
        (Self { started: attempt.started, end: end.clone() }, PrefillRecord { attempt, end })
    }

    /// Ends it.
    pub(crate) fn end(&self, status: Option<StatusCode>, error: Option<&'static str>, usage: Option<Usage>) {
        // The first end counts.
        let _ = self.end.set(PrefillEnd { took: self.started.elapsed(), status, error, usage });
    }
}

impl Drop for PrefillSpan {
    fn drop(&mut self) {
        self.end(None, None, None);
    }
}
