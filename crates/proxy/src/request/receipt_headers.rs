//! Headers that tell a client of its request's receipt, where the operator switches them on.

use std::{fmt::Write as _, time::Duration};

use http::{HeaderMap, HeaderValue};

use crate::request_record::{RequestId, RequestRecord};

/// The id under which the receipt is kept.
const RECEIPT: &str = "x-pailou-receipt";
/// Times so far, in milliseconds (W3C Server Timing).
const SERVER_TIMING: &str = "server-timing";

/// Puts the id into a response, if the receipt is kept, and the times until its head.
pub(super) fn stamp(headers: &mut HeaderMap, record: &RequestRecord, is_kept: bool) {
    if let RequestId::Known(id) = &record.request_id
        && is_kept
    {
        headers.insert(RECEIPT, id.clone());
    }
    let mut timing = String::new();
    let mut add = |name: &str, time: Option<Duration>| {
        let Some(time) = time else { return };
        let comma = if timing.is_empty() { "" } else { ", " };
        let _ = write!(timing, "{comma}{name};dur={:.3}", time.as_secs_f64() * 1e3);
    };
    let wait = record.queued_for;
    add("wait", wait);
    add("overhead", record.trail.first.map(|first| first.saturating_sub(wait.unwrap_or_default())));
    add("head", record.head_after);
    if let Ok(timing) = HeaderValue::try_from(timing) {
        // A backend may have times of its own.
        headers.append(SERVER_TIMING, timing);
    }
}
