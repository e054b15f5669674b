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

/// A charge that the store has a say in.
#[derive(Debug)]
pub struct Undecided {
    /// Batches that had begun when the store was asked.
    begun: u64,
    unleased: Unleased,
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

    /// Charges a request, as [`Counters::admit`] does: without a store alone, else by the lease of its counter. `budget` is the time left to
    /// wait for the store: the first limit that waits sets it, and each takes away what it has waited.
    ///
    /// # Errors
    /// The store does not answer, and is to be asked.
    pub async fn admit(&self, now: u64, charge: &Charge, budget: &mut Option<Duration>) -> Result<Admission, Unavailable> {
        match self.admit_now(now, charge) {
            Ok(admission) => Ok(admission),
            Err(undecided) => self.wait(now, charge, undecided, budget).await,
        }
    }

    /// The same, if nothing has to be waited for: there is no store, or the lease has room.
    ///
    /// # Errors
    /// The store has a say: it has been asked, and [`Self::wait`] waits for its answer.
    pub fn admit_now(&self, now: u64, charge: &Charge) -> Result<Admission, Undecided> {
        let begun = self.begun.load(Ordering::Relaxed);
        self.counters.admit_leased(now, charge).map_err(|unleased| Undecided { begun, unleased })
    }

    /// Waits for the store's answer to a charge. `budget` is that of [`Self::admit`].
    ///
    /// # Errors
    /// The store does not answer, and is to be asked.
    pub async fn wait(
        &self,
        now: u64,
        charge: &Charge,
        mut undecided: Undecided,
        budget: &mut Option<Duration>,
    ) -> Result<Admission, Unavailable> {
        let mut ended = None;
        while undecided.unleased == Unleased::Asked {
            let Some(store) = self.store().filter(|_| !self.sharing.is_down()) else { break };
            let left = *budget.get_or_insert(store.timeout);
            let ended = ended.get_or_insert_with(|| self.ended.clone());
            // The batch that the counter is in has not begun yet.
            let since = Instant::now();
            let is_answered = matches!(time::timeout(left, ended.wait_for(|number| *number > undecided.begun)).await, Ok(Ok(_)));
            *budget = Some(left.saturating_sub(since.elapsed()));
            if !is_answered {
                break;
            }
            match self.admit_now(now, charge) {
                Ok(admission) => return Ok(admission),
                Err(again) => undecided = again,
            }
        }
        self.alone(now, charge)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use pailou_limits::{Descriptor, Window, WindowKind};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(20);
    const ANSWER_TIME: Duration = Duration::from_millis(5);

    fn charge(rule: u64) -> Charge {
        Charge {
            name: "ns/policy/rule/0".into(),
            rule: (rule, 0),
            descriptor: Descriptor::default(),
            window: Window { seconds: 31_536_000, kind: WindowKind::Epoch },
            limit: 10,
            cost: 1,
            expected: None,
            is_shadow: false,
        }
    }

    /// Answers all that waits, again and again until it is silent.
    async fn answer(client: Box<StoreClient>, is_silent: Arc<AtomicBool>) {
        while !is_silent.load(Ordering::Relaxed) {
            time::sleep(ANSWER_TIME).await;
            for claim in client.counters.claims(&client.sharing, 0, usize::MAX) {
                let grant = claim.claim.decide(claim.claim.begin, 0, 0);
                client.counters.grant(&client.sharing, 0, &claim, &grant);
            }
            client.ended.send_replace(client.begun.fetch_add(1, Ordering::Relaxed) + 1);
        }
        std::future::pending::<()>().await;
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn time_between_two_waits_for_the_store_is_not_the_stores() {
        let limits = SharedLimits::new(Arc::<Counters>::default());
        let task = std::mem::replace(&mut *limits.task.lock(), ClientTask::Ended);
        let ClientTask::Waiting(client) = task else { panic!("no store is used yet") };
        let store = LimitStore::parse("redis://127.0.0.1:1").unwrap();
        limits.use_store(Some(&LimitStore { timeout: TIMEOUT, is_fail_closed: true, ..store }), &Handle::current());
        let is_silent = Arc::<AtomicBool>::default();
        tokio::spawn(answer(client, is_silent.clone()));
        let mut budget = None;
        for rule in 1..=3 {
            assert!(limits.admit(0, &charge(rule), &mut budget).await.is_ok());
            // The request's body comes meanwhile.
            time::sleep(Duration::from_millis(52)).await;
        }
        assert!(budget.is_some_and(|left| left > Duration::ZERO && left < TIMEOUT - ANSWER_TIME), "{budget:?}");

        is_silent.store(true, Ordering::Relaxed);
        time::sleep(ANSWER_TIME).await;
        let since = Instant::now();
        assert!(limits.admit(0, &charge(4), &mut budget).await.is_err());
        assert!(since.elapsed() < TIMEOUT, "no more than was left");
        assert_eq!(budget, Some(Duration::ZERO));
    }
}
