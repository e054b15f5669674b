//! Figures of a queue, under the names that gateway and picker export.

use super::QueueLevel;

/// A gauge of the requests of one priority that wait: its name, its meaning, its value.
pub type QueueGauge = (&'static str, &'static str, fn(&QueueLevel) -> f64);

/// All gauges.
pub const QUEUE_GAUGES: [QueueGauge; 4] = [
    ("pailou_queue_requests", "Requests that wait for an endpoint with room", |level| level.requests.into()),
    ("pailou_queue_bytes", "Bytes of the bodies of requests that wait", |level| level.bytes as f64),
    ("pailou_queue_flows", "Fairness ids among the requests that wait", |level| level.flows as f64),
    ("pailou_queue_oldest_wait_seconds", "How long the oldest request has waited", |level| level.oldest_wait.as_secs_f64()),
];
/// Name and meaning of the counter of outcomes.
pub const QUEUE_OUTCOMES: (&str, &str) =
    ("pailou_queue_outcomes", "Requests that waited, or were refused instead, by what became of them");
/// Name and meaning of the histogram of waits.
pub const QUEUE_WAITS: (&str, &str) =
    ("pailou_queue_wait_seconds", "Seconds that requests waited before they were sent to an endpoint");

/// The label of a priority; `None` stands for those that are not counted apart.
pub fn priority_label(priority: Option<i32>) -> String {
    priority.map_or_else(|| "other".to_owned(), |priority| priority.to_string())
}
