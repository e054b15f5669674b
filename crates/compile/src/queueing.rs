//! Queueing of requests while an InferencePool is saturated, from its annotations.

use std::time::Duration;

use pailou_api::{InferencePool, Meta, Quantity};
use pailou_snapshot::{PickerKind, Queueing};

use crate::annotation::{number, parsed, time};

const ANNOTATION: &str = "pailou.dev/queueing";
const MAX_REQUESTS_ANNOTATION: &str = "pailou.dev/queue-max-requests";
const MAX_BYTES_ANNOTATION: &str = "pailou.dev/queue-max-bytes";
const TIMEOUT_ANNOTATION: &str = "pailou.dev/queue-timeout";
const MAX_CONCURRENCY_ANNOTATION: &str = "pailou.dev/queue-max-concurrency";
const RESERVE_ANNOTATION: &str = "pailou.dev/queue-reserve";
const EVICTION_ANNOTATION: &str = "pailou.dev/queue-eviction";
/// All annotations that are read here.
pub(crate) const ANNOTATIONS: [&str; 7] = [
    ANNOTATION,
    MAX_REQUESTS_ANNOTATION,
    MAX_BYTES_ANNOTATION,
    TIMEOUT_ANNOTATION,
    MAX_CONCURRENCY_ANNOTATION,
    RESERVE_ANNOTATION,
    EVICTION_ANNOTATION,
];

pub(crate) const DEFAULT_MAX_REQUESTS: u32 = 5000;
/// Most requests of a priority that an annotation may ask for.
const MOST_MAX_REQUESTS: u32 = 1_000_000;
pub(crate) const DEFAULT_MAX_BYTES: Quantity = Quantity::from_bytes(1 << 30);
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that an annotation may ask for.
pub(crate) const MOST_TIMEOUT: Duration = Duration::from_secs(3600);
/// Most requests under way at an endpoint that an annotation may ask for.
const MOST_MAX_CONCURRENCY: u32 = 100_000;

/// Percent of the room that is kept for the highest priority unless an annotation says so.
const DEFAULT_RESERVE: u8 = 25;

/// Reason for annotations that the gateway itself does not act on.
pub(crate) const FOREIGN_PICKER: &str = "endpointPickerRef's endpoint picker chooses, unless that is `pailou picker`";
/// Time of an endpoint picker beyond the longest wait in its queue.
const PICKER_SLACK: Duration = Duration::from_secs(10);

/// Time that the gateway waits for a pool's own endpoint picker: longer than requests wait there, if it is `pailou picker` and reads a
/// configuration with this longest wait, or else the pool's annotations. And whether these have requests wait.
pub(crate) fn at_picker(configured: Option<Duration>, pool: &InferencePool) -> (Duration, bool) {
    // Values that are none are told of where queueing is read.
    let annotated = || queueing(pool, &PickerKind::BuiltIn, &mut Vec::new()).map(|queueing| queueing.timeout);
    let wait = configured.or_else(annotated);
    (wait.unwrap_or(DEFAULT_TIMEOUT).max(DEFAULT_TIMEOUT) + PICKER_SLACK, wait.is_some())
}

/// Queueing as a pool's annotations have it; `None` where it is off. A value that is none is ignored, with a warning.
pub(crate) fn queueing(pool: &InferencePool, picker: &PickerKind, warnings: &mut Vec<String>) -> Option<Queueing> {
    let meta = &pool.meta;
    let is_on = is_true(meta, ANNOTATION, warnings);
    let evicts = is_true(meta, EVICTION_ANNOTATION, warnings);
    let max_requests = number(meta, MAX_REQUESTS_ANNOTATION, MOST_MAX_REQUESTS, warnings);
    let max_bytes = parsed(meta, MAX_BYTES_ANNOTATION, warnings).filter(|quantity: &Quantity| {
        let is_some = quantity.bytes() > 0;
        if !is_some {
            warnings.push(format!("annotation {MAX_BYTES_ANNOTATION}: 0 is ignored; at least 1 byte is expected"));
        }
        is_some
    });
    let timeout = time(meta, TIMEOUT_ANNOTATION, MOST_TIMEOUT, warnings);
    let max_concurrency = number(meta, MAX_CONCURRENCY_ANNOTATION, MOST_MAX_CONCURRENCY, warnings);
    let reserve = reserve(meta, warnings);
    if !is_on {
        if meta.annotation(ANNOTATION).is_none() {
            let present = ANNOTATIONS.into_iter().filter(|other| meta.annotation(other).is_some());
            warnings.extend(present.map(|other| format!("annotation {other} has no effect without {ANNOTATION}")));
        }
        return None;
    }
    if let PickerKind::External { .. } = picker {
        warnings.push(format!("annotation {ANNOTATION} has no effect where {FOREIGN_PICKER}"));
        return None;
    }
    Some(Queueing {
        max_requests: max_requests.unwrap_or(DEFAULT_MAX_REQUESTS),
        max_bytes: max_bytes.unwrap_or(DEFAULT_MAX_BYTES).bytes(),
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        max_concurrency,
        reserve: reserve.unwrap_or(DEFAULT_RESERVE),
        evicts,
    })
}

/// Percent, from a value such as `25%`.
fn reserve(meta: &Meta, warnings: &mut Vec<String>) -> Option<u8> {
    let value = meta.annotation(RESERVE_ANNOTATION)?.trim();
    let percent =
        value.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|percent| *percent <= Queueing::MAX_RESERVE);
    if percent.is_none() {
        warnings.push(format!(
            "annotation {RESERVE_ANNOTATION}: {value:?} is ignored; a percentage from 0% to {}% is expected",
            Queueing::MAX_RESERVE
        ));
    }
    percent
}

fn is_true(meta: &Meta, annotation: &str, warnings: &mut Vec<String>) -> bool {
    match meta.annotation(annotation).map(str::trim) {
        Some("true") => true,
        None | Some("false") => false,
        Some(other) => {
            warnings.push(format!("annotation {annotation}: {other:?} is ignored; \"true\" or \"false\" is expected"));
            false
        }
    }
}
