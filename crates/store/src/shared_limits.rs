//! Admission of requests by counters that replicas share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pailou_limits::{Admission, Charge, Counters, Sharing};
use pailou_snapshot::LimitStore;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{self, Instant},
};

use crate::{client::StoreClient, connection::Script};

/// Counters that replicas share by a store. Dropping it ends its task; [`Self::stop`] gives leases back first.
pub struct SharedLimits {
    store: LimitStore,
    counters: Arc<Counters>,
    sharing: Arc<Sharing>,
    stats: Arc<StoreStats>,
    begun: Arc<AtomicU64>,
    ended: watch::Receiver<u64>,
    stopping: watch::Sender<bool>,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

/// Numbers of a store.
#[derive(Debug, Default)]
pub struct StoreStats {
    /// Round trips: a batch of claims is one.
    pub round_trips: AtomicU64,
    /// Times that it began not to answer, or went on to.
    pub failures: AtomicU64,
    /// Requests that were decided on without it.
    pub alone: AtomicU64,
}

/// The store does not answer, and limits that cannot be counted are to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

impl fmt::Debug for SharedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLimits").field("store", &self.store).field("sharing", &self.sharing).finish_non_exhaustive()
    }
}

impl SharedLimits {
    /// Begins to share these counters, on this runtime.
    pub fn start(store: &LimitStore, counters: Arc<Counters>, stats: Arc<StoreStats>, runtime: &Handle) -> Self {
        let wake = Arc::new(Notify::new());
        let notify = wake.clone();
        let sharing = Arc::new(Sharing::new(1, move || notify.notify_one()));
        let (begun, (ended, ends), (stopping, stop)) = (Arc::new(AtomicU64::new(0)), watch::channel(0), watch::channel(false));
        let client = StoreClient {
            store: store.clone(),
            counters: counters.clone(),
            sharing: sharing.clone(),
            stats: stats.clone(),
            wake,
            begun: begun.clone(),
            ended,
            stop,
            lease: Script::new(include_str!("lease.lua")),
            presence: Script::new(include_str!("replicas.lua")),
            id: format!("{:016x}", fastrand::u64(..)),
            number: AtomicU64::new(0),
            is_present: false,
        };
        counters.share(Some(sharing.clone()));
        let task = parking_lot::Mutex::new(Some(runtime.spawn(client.run())));
        Self { store: store.clone(), counters, sharing, stats, begun, ended: ends, stopping, task }
    }

    /// The store.
    pub fn store(&self) -> &LimitStore {
        &self.store
    }

    /// Whether the store does not answer.
    pub fn is_down(&self) -> bool {
        self.sharing.is_down()
    }

    /// Replicas that share, with this one.
    pub fn replicas(&self) -> u64 {
        self.sharing.replicas()
    }

    /// Time that a request may wait for the store from now on, for all its limits together.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.store.timeout
    }

    /// Charges a request, as [`Counters::admit`] does. `deadline` is set by the first limit that waits.
    ///
    /// # Errors
    /// The store does not answer, and is to be asked.
    pub async fn admit(&self, now: u64, charge: &Charge, deadline: &mut Option<Instant>) -> Result<Admission, Unavailable> {
        let mut ended = None;
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            if let Ok(admission) = self.counters.admit_leased(now, charge) {
                return Ok(admission);
            }
            if self.sharing.is_down() {
                return self.alone(now, charge);
            }
            let until = *deadline.get_or_insert_with(|| self.deadline());
            let ended = ended.get_or_insert_with(|| self.ended.clone());
            // The batch that the counter is in has not begun yet.
            if !matches!(time::timeout_at(until, ended.wait_for(|number| *number > begun)).await, Ok(Ok(_))) {
                return self.alone(now, charge);
            }
        }
    }

    fn alone(&self, now: u64, charge: &Charge) -> Result<Admission, Unavailable> {
        self.stats.alone.fetch_add(1, Ordering::Relaxed);
        match self.store.is_fail_closed {
            true => Err(Unavailable),
            false => Ok(self.counters.admit(now, charge)),
        }
    }

    /// Gives every lease back and ends, within the time that the store has for an answer.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let task = self.task.lock().take();
        if let Some(mut task) = task
            && time::timeout(self.store.timeout * 2 + Duration::from_millis(100), &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

impl Drop for SharedLimits {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}
