//! An attempt that admission control has admitted, until it is known whether it succeeded.

use std::sync::Arc;

use http::{HeaderMap, header, response::Parts};
use pailou_snapshot::AdmissionControl;
use tokio::time::Instant;

use crate::{
    breaker::Breaker,
    error::{Error, Flag},
    grpc_media_type::is_grpc,
    request_record::RequestRecord,
};

const GRPC_STATUS: &str = "grpc-status";

/// An attempt under way. One that is dropped, such as when its client leaves, counts neither as success nor as failure.
pub(crate) struct AdmittedAttempt {
    breaker: Arc<Breaker>,
    control: Arc<AdmissionControl>,
}

impl AdmittedAttempt {
    /// Admits an attempt, as far as those before it allow.
    ///
    /// # Errors
    /// 503, as often as admission control says.
    pub(crate) fn new(breaker: &Arc<Breaker>, control: &Arc<AdmissionControl>) -> Result<Self, Error> {
        if !breaker.admission.admits(control, Instant::now(), fastrand::f64()) {
            let message = "too many requests to the backend failed; try again";
            return Err(Error::new(Flag::AdmissionDenied, message).with_detail("denied by admission control"));
        }
        Ok(Self { breaker: Arc::clone(breaker), control: Arc::clone(control) })
    }

    /// Counts a failure.
    pub(crate) fn failed(self) {
        self.record(false);
    }

    /// Counts a response by its head; one in gRPC whose status is in its trailers is yet to be counted.
    pub(crate) fn answered(self, head: &Parts) -> Option<Self> {
        if !head.headers.get(header::CONTENT_TYPE).is_some_and(is_grpc) {
            // gRPC-Web has its status in the body: its responses count by their heads.
            let is_success = self.control.is_http_success(head.status);
            self.record(is_success);
            return None;
        }
        self.with_grpc_status(&head.headers)
    }

    /// Counts a response in gRPC by its status, if it is among these fields.
    pub(crate) fn with_grpc_status(self, fields: &HeaderMap) -> Option<Self> {
        let Some(status) = fields.get(GRPC_STATUS) else { return Some(self) };
        let status = status.to_str().ok().and_then(|status| status.parse().ok());
        let is_success = status.is_some_and(|status| self.control.is_grpc_success(status));
        self.record(is_success);
        None
    }

    /// Counts a response in gRPC that has ended without a status: a failure, unless it is the client that has left.
    pub(crate) fn ended(self, record: &RequestRecord) {
        if record.flag != Some(Flag::ClientGone) {
            self.failed();
        }
    }

    fn record(self, is_success: bool) {
        self.breaker.admission.record(&self.control, Instant::now(), is_success);
    }
}
