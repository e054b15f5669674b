//! Admission of requests by counters that replicas share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pailou_limits::{Admission, Charge, Counters, Sharing, Unleased};
use pailou_snapshot::LimitStore;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{self, Instant},
};

use crate::{
    client::{Order, StoreClient, StoreHealth},
    replica::Replica,
};

/// Counters of a process, which it shares with other replicas while a store is configured. Dropping it ends its task; [`Self::stop`] gives
/// leases back first.
pub struct SharedLimits {
    counters: Arc<Counters>,
    sharing: Arc<Sharing>,
    stats: Arc<StoreStats>,
    begun: Arc<AtomicU64>,
    ended: watch::Receiver<u64>,
    orders: watch::Sender<Order>,
    task: Mutex<ClientTask>,
}

/// The client's task, which begins with the first store.
enum ClientTask {
    Waiting(Box<StoreClient>),
    Running(JoinHandle<()>),
    Ended,
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
    /// Claims that it answered with an error, or a node of it not at all, while others were answered.
    pub refused: AtomicU64,
}

/// The store does not answer, and limits that cannot be counted are to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

impl fmt::Debug for SharedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = &*self.orders.borrow();
        f.debug_struct("SharedLimits").field("order", order).field("sharing", &self.sharing).finish_non_exhaustive()
    }
}

impl SharedLimits {
    /// Counters that nobody shares yet.
    pub fn new(counters: Arc<Counters>) -> Self {
        let wake = Arc::new(Notify::new());
        let notify = wake.clone();
        let sharing = Arc::new(Sharing::new(1, move || notify.notify_one()));
        let (begun, (ended, ends), (orders, ordered)) =
            (Arc::new(AtomicU64::new(0)), watch::channel(0), watch::channel(Order::default()));
        let stats = Arc::new(StoreStats::default());
        let client = StoreClient {
            counters: counters.clone(),
            sharing: sharing.clone(),
            stats: stats.clone(),
            wake,
            begun: begun.clone(),
            ended,
            orders: ordered,
            replica: Replica::new(),
            health: StoreHealth::default(),
        };
        let task = Mutex::new(ClientTask::Waiting(Box::new(client)));
        Self { counters, sharing, stats, begun, ended: ends, orders, task }
    }

    /// Shares the counters by this store from now on, or (`None`) counts them alone. The process keeps its name and what it was granted, so
    /// that nothing counts twice. The first store's task begins on this runtime. Gives back whether anything changed.
    pub fn use_store(&self, store: Option<&LimitStore>, runtime: &Handle) -> bool {
        if self.store().as_deref() == store {
            return false;
        }
        self.counters.share(store.map(|_| self.sharing.clone()));
        let order = store.map_or(Order::Rest, |store| Order::Serve(Arc::new(store.clone())));
        self.orders.send_replace(order);
        let mut task = self.task.lock();
        *task = match std::mem::replace(&mut *task, ClientTask::Ended) {
            ClientTask::Waiting(client) => ClientTask::Running(runtime.spawn(client.run())),
            other => other,
        };
        true
    }

    /// The store, if there is one.
    pub fn store(&self) -> Option<Arc<LimitStore>> {
        match &*self.orders.borrow() {
            Order::Serve(store) => Some(store.clone()),
            Order::Rest | Order::End => None,
        }
    }

    /// Numbers of the stores of this process.
    pub fn stats(&self) -> &StoreStats {
        &self.stats
    }

    /// Whether the store does not answer.
    pub fn is_down(&self) -> bool {
        self.sharing.is_down()
    }

    /// Replicas that share, with this one.
    pub fn replicas(&self) -> u64 {
        self.sharing.replicas()
    }

    /// Charges a request, as [`Counters::admit`] does: without a store alone, else by the lease of its counter. `deadline` is set by the first
    /// limit that waits.
    ///
    /// # Errors
    /// The store does not answer, and is to be asked.
    pub async fn admit(&self, now: u64, charge: &Charge, deadline: &mut Option<Instant>) -> Result<Admission, Unavailable> {
        let mut ended = None;
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            match self.counters.admit_leased(now, charge) {
                Ok(admission) => return Ok(admission),
                Err(Unleased::Refused) => return self.alone(now, charge),
                Err(Unleased::Asked) => {}
            }
            let Some(store) = self.store().filter(|_| !self.sharing.is_down()) else { return self.alone(now, charge) };
            let until = *deadline.get_or_insert_with(|| Instant::now() + store.timeout);
            let ended = ended.get_or_insert_with(|| self.ended.clone());
            // The batch that the counter is in has not begun yet.
            if !matches!(time::timeout_at(until, ended.wait_for(|number| *number > begun)).await, Ok(Ok(_))) {
                return self.alone(now, charge);
            }
        }
    }

    fn alone(&self, now: u64, charge: &Charge) -> Result<Admission, Unavailable> {
        self.stats.alone.fetch_add(1, Ordering::Relaxed);
        match self.store().is_some_and(|store| store.is_fail_closed) {
            true => Err(Unavailable),
            false => Ok(self.counters.admit(now, charge)),
        }
    }

    /// Gives every lease back and ends, within the time that the store has for an answer. No other store is used any more.
    pub async fn stop(&self) {
        let patience = self.store().map_or(Duration::ZERO, |store| store.timeout * 2 + Duration::from_millis(100));
        self.orders.send_replace(Order::End);
        let task = std::mem::replace(&mut *self.task.lock(), ClientTask::Ended);
        if let ClientTask::Running(mut task) = task
            && time::timeout(patience, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

impl Drop for SharedLimits {
    fn drop(&mut self) {
        if let ClientTask::Running(task) = self.task.get_mut() {
            task.abort();
        }
    }
}
