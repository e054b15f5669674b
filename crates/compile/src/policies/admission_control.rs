//! `admissionControl` of a BackendTrafficPolicy.

use std::time::Duration;

use pailou_api::envoy::admission_control::AdmissionControl as Spec;
use pailou_snapshot::AdmissionControl;

use crate::status::Problem;

use super::values::{invalid, statuses};

/// Reads the settings.
///
/// # Errors
/// The first value that is invalid.
pub(super) fn read(spec: &Spec) -> Result<AdmissionControl, Problem> {
    let default = AdmissionControl::default();
    let window = spec.sampling_window.map_or(default.sampling_window, |it| it.as_std());
    if window < Duration::from_secs(1) {
        return Err(invalid("admissionControl.samplingWindow: must be at least 1s"));
    }
    let min_success_rate = spec.min_success_rate.unwrap_or(default.min_success_rate);
    if !(1..=100).contains(&min_success_rate) {
        return Err(invalid("admissionControl.minSuccessRate: use 1 to 100"));
    }
    let criteria = spec.success_criteria.as_ref();
    let http = criteria.and_then(|it| it.http.as_ref()).map_or(&[][..], |it| &it.status_codes);
    let grpc = criteria.and_then(|it| it.grpc.as_ref()).map_or(&[][..], |it| &it.status_codes);
    Ok(AdmissionControl {
        // Envoy counts in whole seconds.
        sampling_window: Duration::from_secs(window.min(AdmissionControl::MAX_WINDOW).as_secs()),
        min_success_rate,
        aggression: spec.rejection_aggression.unwrap_or(default.aggression).max(1),
        min_request_rate: spec.min_request_rate.unwrap_or(default.min_request_rate),
        max_rejection_percent: spec.max_rejection_percent.unwrap_or(default.max_rejection_percent).min(100),
        http_success: statuses(http)?,
        grpc_success: match grpc {
            [] => default.grpc_success,
            listed => listed.iter().fold(0, |bits, status| bits | 1 << *status as u32),
        },
    })
}
