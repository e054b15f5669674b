//! Events (events.k8s.io) on objects that are no longer accepted, whose references no longer resolve, or for which the
//! controller can provision nothing. `kubectl describe` shows them.
//!
//! An event reports a change: the controller publishes one when it writes such a condition that was not there. The same event
//! on the same object within 6 minutes counts in the first one's series. Both the queue and the rate are bounded; the
//! controller counts the events beyond them and leaves them out, since conditions and log say the same. Only the leader
//! publishes: an event that waits for more than a minute of lost leadership is dropped.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use pailou_api::ObjectKey;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};

use crate::{
    FIELD_MANAGER,
    leader::Leadership,
    metrics::{EventOutcome, Metrics},
    source::status_cache::CachedStatus,
};

/// Longest queue of events.
const MAX_QUEUED: usize = 256;
/// Time between two events.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// How long one request may take.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an event waits for this replica to lead.
const LEADERSHIP_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest note and the longest reason that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;
const MAX_REASON: usize = 128;

/// Queue of events to publish. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    queue: mpsc::Sender<QueuedEvent>,
    metrics: Arc<Metrics>,
}

struct QueuedEvent {
    regarding: ObjectReference,
    event: Event,
    since: Instant,
}

/// An object that an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regarding<'a> {
    pub(crate) key: &'a ObjectKey,
    pub(crate) api_version: &'a str,
    pub(crate) uid: &'a str,
}

impl Events {
    /// The way in, and the task that makes the events.
    pub(crate) fn new(
        client: Client,
        identity: &str,
        leadership: Leadership,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (queue, waiting) = mpsc::channel(MAX_QUEUED);
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        let task = publish(Recorder::new(client, reporter), waiting, leadership, metrics.clone());
        (Self { queue, metrics }, task)
    }

    /// Tells of the conditions that have come to fail.
    pub(crate) fn of_change(&self, key: &ObjectKey, live: &CachedStatus, status: &Value) {
        let before = live.status.value();
        let before = failing(&before);
        for (condition, (reason, message)) in failing(status) {
            if before.get(&condition).is_none_or(|(known, _)| *known != reason) {
                let regarding = Regarding { key, api_version: &live.api_version, uid: &live.uid };
                self.warn(regarding, &condition.1, reason, message);
            }
        }
    }

    /// Tells of something that is wrong with an object. `action` says what was not done.
    pub(crate) fn warn(&self, regarding: Regarding<'_>, action: &str, reason: &str, note: &str) {
        let key = regarding.key;
        let regarding = ObjectReference {
            api_version: Some(regarding.api_version.to_owned()),
            kind: Some(key.kind.to_string()),
            namespace: Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(key.name.clone()),
            uid: Some(regarding.uid.to_owned()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: shorten(reason, MAX_REASON),
            note: Some(shorten(note, MAX_NOTE)).filter(|note| !note.is_empty()),
            action: shorten(action, MAX_REASON),
            secondary: None,
        };
        if self.queue.try_send(QueuedEvent { regarding, event, since: Instant::now() }).is_err() {
            self.metrics.count_event(EventOutcome::LeftOut);
        }
    }
}

async fn publish(recorder: Recorder, mut queue: mpsc::Receiver<QueuedEvent>, mut leadership: Leadership, metrics: Arc<Metrics>) {
    while let Some(QueuedEvent { regarding, event, since }) = queue.recv().await {
        if time::timeout_at(since + LEADERSHIP_TIMEOUT, leadership.gained()).await.is_err() {
            continue;
        }
        let outcome = match time::timeout(PUBLISH_TIMEOUT, recorder.publish(&event, &regarding)).await {
            Ok(Ok(())) => EventOutcome::Done,
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot publish an event");
                EventOutcome::Failed
            }
            Err(_) => EventOutcome::Failed,
        };
        metrics.count_event(outcome);
        time::sleep(EVENT_INTERVAL).await;
    }
}

/// A condition that fails: the part of the object that it is about, and its type.
type ConditionKey = (String, String);

/// Conditions that fail, with reason and message.
fn failing(status: &Value) -> BTreeMap<ConditionKey, (&str, &str)> {
    let mut found = BTreeMap::new();
    collect(String::new(), status, &mut found);
    for (list, names) in [("listeners", "name"), ("parents", "parentRef"), ("parent", "parentRef"), ("ancestors", "ancestorRef")] {
        for part in status[list].as_array().into_iter().flatten() {
            collect(format!("{list} {} {}", part[names], part["controllerName"]), part, &mut found);
        }
    }
    found
}

fn collect<'a>(part: String, value: &'a Value, found: &mut BTreeMap<ConditionKey, (&'a str, &'a str)>) {
    for condition in value["conditions"].as_array().into_iter().flatten() {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        let is_reported = match text("type") {
            "Accepted" | "ResolvedRefs" => true,
            // Of other reasons, proxies that are on their way.
            "Programmed" => text("reason") == "NoResources",
            _ => false,
        };
        if is_reported && text("status") == "False" {
            found.insert((part.clone(), text("type").to_owned()), (text("reason"), text("message")));
        }
    }
}

fn shorten(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}
