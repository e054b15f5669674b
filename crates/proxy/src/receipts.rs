//! Routing receipts of the process: which are kept, and for whom they wait.

mod ring;
mod rules;
mod rules_cache;
mod stored;
mod tracers;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use pailou_auth::Condition;
use pailou_snapshot::Snapshot;
use pailou_telemetry::receipt_selection::{RequestFacts, Selection};
use parking_lot::Mutex;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use self::ring::{Pushed, ReceiptRing};
pub(crate) use self::rules::{rule_name, rules};
pub use self::{
    ring::{News, ReceiptFilter},
    tracers::{MAX_TRACERS, Trace},
};
pub use crate::stored_receipt::StoredReceipt;
use crate::{error::Flag, request_record::RequestRecord, runtime::Runtime, wall_clock};

/// Readers that follow the receipts at the same time.
pub const MAX_VIEWERS: usize = 16;

/// Settings of receipts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReceiptSettings {
    /// Most receipts that are kept; 0 keeps none, and makes none.
    pub count: usize,
    /// Share of ordinary requests whose receipts are kept, 0 to 1.
    pub share: f64,
    /// Requests whose first content, or head, takes longer are kept, too; `None` keeps none for that.
    pub slow: Option<Duration>,
    /// Responses say whether their receipt is kept (`x-pailou-receipt`), and how long the gateway took (`Server-Timing`).
    pub headers: bool,
}

impl Default for ReceiptSettings {
    fn default() -> Self {
        Self { count: 0, share: 0.0, slow: None, headers: false }
    }
}

/// The receipts of a process.
pub struct Receipts {
    is_on: bool,
    /// Settings of response headers.
    pub(crate) headers: bool,
    selection: Selection,
    ring: Mutex<ReceiptRing>,
    /// Number of the newest receipt, for those who wait for news.
    newest: watch::Sender<u64>,
    viewers: Arc<Semaphore>,
    tracers: Arc<tracers::Tracers>,
    /// Receipts that were kept.
    pub(crate) kept: Counter,
    /// Receipts that were not made, as a flood of failures would have cost too much.
    pub(crate) dropped: Counter,
}

/// A place among those who follow the receipts.
pub struct Viewer {
    _permit: OwnedSemaphorePermit,
    newest: watch::Receiver<u64>,
}

impl Viewer {
    /// Waits until there is a receipt after that number. Cancelling it loses nothing.
    pub async fn news_after(&mut self, sequence: u64) {
        // The sender lives as long as the process.
        let _ = self.newest.wait_for(|newest| *newest > sequence).await;
    }
}

impl Receipts {
    /// No receipts yet, by these settings.
    pub fn new(settings: &ReceiptSettings) -> Self {
        Self {
            is_on: settings.count > 0,
            headers: settings.headers && settings.count > 0,
            selection: Selection::new(settings.share, settings.slow),
            ring: Mutex::new(ReceiptRing::new(settings.count)),
            newest: watch::Sender::new(0),
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
            tracers: Arc::default(),
            kept: Counter::default(),
            dropped: Counter::default(),
        }
    }

    /// Registers its metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("pailou_receipts_kept", "Routing receipts that were kept", self.kept.clone());
        registry.register(
            "pailou_receipts_dropped",
            "Routing receipts of failed, retried or slow requests that were not made: there were too many in a second",
            self.dropped.clone(),
        );
    }

    /// Whether any are made.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Decides once whether a request's receipt is kept.
    pub(crate) fn is_kept(&self, record: &mut RequestRecord) -> bool {
        if !self.is_on {
            return false;
        }
        let decided = match record.trail.kept {
            _ if record.trail.is_dropped => return false,
            // One that is not kept may fail yet.
            Some(Some(_)) => return true,
            decided => decided.is_some(),
        };
        let failed = record.flag.is_some() || record.status.is_some_and(|status| status.is_server_error());
        // A long answer is not a slow one.
        let duration = record.content_after.or(record.head_after).unwrap_or_else(|| record.started.elapsed());
        let by_client = record.flag.is_some_and(Flag::is_of_client);
        let facts = RequestFacts { failed, by_client, attempts: record.attempts, duration };
        let reason = self.selection.select(&facts, || if decided { u32::MAX } else { fastrand::u32(..) });
        // The room is taken now: clients that are told of a receipt get one.
        let has_room = reason.is_none_or(|reason| self.selection.take_room(reason, wall_clock::unix_seconds() as u32));
        if !has_room {
            self.dropped.inc();
        }
        record.trail.is_dropped = !has_room;
        record.trail.kept = Some(reason.filter(|_| has_room));
        has_room && reason.is_some()
    }

    /// Makes and keeps the receipt of a request that has ended after `duration`, if it is to be kept.
    pub(crate) fn settle(&self, record: &mut RequestRecord, duration: Duration, runtime: &ArcSwapOption<Runtime>) {
        if !self.is_kept(record) {
            return;
        }
        let Some(Some(reason)) = record.trail.kept else { return };
        let runtime = runtime.load();
        let receipt = self.keep(stored::of_record(record, reason, duration, runtime.as_ref().map(|runtime| runtime.snapshot())));
        if let Some(tracer) = record.trail.more.as_mut().and_then(|more| more.tracer.take()) {
            // One who has gone needs none.
            let _ = tracer.send(receipt);
        }
    }

    fn keep(&self, receipt: StoredReceipt) -> Arc<StoredReceipt> {
        let receipt = Arc::new(receipt);
        let Pushed { newest, gone } = self.ring.lock().push(receipt);
        drop(gone);
        self.kept.inc();
        if self.newest.receiver_count() > 0 {
            self.announce(newest.sequence);
        }
        newest
    }

    /// Lets viewers know of a receipt, and those before it.
    fn announce(&self, newest: u64) {
        self.newest.send_if_modified(|last| {
            let is_newer = newest > *last;
            *last = newest.max(*last);
            is_newer
        });
    }

    /// Waits for the receipt of the next request whose head meets a condition; `None` where [`MAX_TRACERS`] wait already.
    pub fn trace(&self, condition: Condition) -> Option<Trace> {
        self.tracers.begin(condition)
    }

    /// Whether anyone waits for one.
    pub(crate) fn is_traced(&self) -> bool {
        self.tracers.is_any()
    }

    /// The first who waits for a request whose head meets their condition.
    pub(crate) fn take_tracer(&self, holds: impl Fn(&Condition) -> bool) -> Option<oneshot::Sender<Arc<StoredReceipt>>> {
        self.tracers.take(holds)
    }

    /// The newest receipt of a request's id.
    pub fn find(&self, id: &str) -> Option<Arc<StoredReceipt>> {
        self.ring.lock().find(id)
    }

    /// The newest that meet the conditions, and the number that they were read at.
    pub fn newest(&self, filter: &ReceiptFilter, limit: usize) -> NewestReceipts {
        let ring = self.ring.lock();
        NewestReceipts { receipts: ring.newest(filter, limit), last: ring.last() }
    }

    /// At most `limit` receipts after that number.
    pub fn after(&self, sequence: u64, limit: usize) -> News {
        self.ring.lock().after(sequence, limit)
    }

    /// Number of the newest.
    pub fn last(&self) -> u64 {
        self.ring.lock().last()
    }

    /// A place among those who follow; `None` where all [`MAX_VIEWERS`] are taken.
    pub fn view(&self) -> Option<Viewer> {
        let permit = Arc::clone(&self.viewers).try_acquire_owned().ok()?;
        let newest = self.newest.subscribe();
        // Nobody was told of those that came while there was no viewer.
        self.announce(self.last());
        Some(Viewer { _permit: permit, newest })
    }
}

/// The newest receipts of some conditions.
#[derive(Clone, Debug)]
pub struct NewestReceipts {
    /// Newest first.
    pub receipts: Vec<Arc<StoredReceipt>>,
    /// Number of the newest of all, whatever the conditions: all later ones are news.
    pub last: u64,
}

/// The listener of a name.
pub(crate) fn listener<'a>(
    snapshot: &'a Snapshot,
    name: &pailou_snapshot::ListenerName,
) -> Option<&'a Arc<pailou_snapshot::Listener>> {
    let listeners = snapshot.ports.iter().flat_map(pailou_snapshot::Port::listeners);
    listeners.into_iter().find_map(|listener| match listener {
        pailou_snapshot::ListenerRef::Http(listener) if listener.name == *name => Some(listener),
        _ => None,
    })
}
