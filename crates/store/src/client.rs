//! The task that owns the connection: it sends what waits, and takes the answers in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pailou_limits::{CounterClaim, Counters, Sharing};
use pailou_snapshot::LimitStore;
use tokio::{
    sync::{Notify, watch},
    time::{self, Instant, MissedTickBehavior},
};

use crate::{
    connection::Connection,
    error::Error,
    replica::{ClaimOutcome, PRESENCE_KEPT, Replica},
    shared_limits::StoreStats,
};

/// Time within which a connection has to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Pauses between attempts to connect.
const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Interval in which counters are looked through for leases that lie unused.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Interval in which the replica says that it is there.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(2);
/// Interval in which a replica asks whether the others are back too.
const RECOVERY_INTERVAL: Duration = Duration::from_millis(200);
/// Most claims of one batch.
const MAX_BATCH: usize = 256;

/// Order to the task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// Connect to nothing: this process counts alone.
    #[default]
    Rest,
    /// Count in this store. Leases of another one stay where they are, for no replica may have them twice.
    Serve(Arc<LimitStore>),
    /// Give every lease back, and end.
    End,
}

/// The task. There is one for as long as the process runs: a store counts what one replica was granted under one name.
pub(crate) struct StoreClient {
    pub(crate) counters: Arc<Counters>,
    pub(crate) sharing: Arc<Sharing>,
    pub(crate) stats: Arc<StoreStats>,
    /// Counters wait.
    pub(crate) wake: Arc<Notify>,
    /// Number of the last batch that has begun.
    pub(crate) begun: Arc<AtomicU64>,
    /// Number of the last batch that has ended, however it did.
    pub(crate) ended: watch::Sender<u64>,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) replica: Replica,
    pub(crate) health: StoreHealth,
}

/// Outcome of the claims on a store of late.
#[derive(Debug, Default)]
pub(crate) struct StoreHealth {
    /// The store does not know what this replica holds: it is another one, or has been away.
    is_news: bool,
    /// An operator was told that it does not answer.
    is_down_logged: bool,
    /// An operator was told that some counters fail.
    are_failures_logged: bool,
    /// Claims answered since the replica last said that it is there.
    answered: u64,
    /// Claims that failed since then.
    failed: u64,
}

impl StoreClient {
    /// Runs until it is ordered to end.
    pub(crate) async fn run(mut self) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            match order {
                Order::End => return,
                Order::Rest => {}
                Order::Serve(store) => {
                    self.health = StoreHealth { is_news: true, ..StoreHealth::default() };
                    self.follow(&store).await;
                }
            }
            // Where an order ended the work, it is there already. An error is the end of who gives orders.
            if self.orders.changed().await.is_err() {
                return;
            }
        }
    }

    /// Counts in a store until another order comes.
    async fn follow(&mut self, store: &LimitStore) {
        let mut backoff = RECONNECT_BACKOFF.0;
        let mut orders = self.orders.clone();
        loop {
            let connection = tokio::select! {
                connection = self.connect(store) => connection,
                _ = orders.changed() => return,
            };
            let error = match connection {
                Ok(mut connection) => {
                    let begun = self.begun.load(Ordering::Relaxed);
                    let Err(error) = self.serve(store, &mut connection).await else { return };
                    if self.begun.load(Ordering::Relaxed) > begun + 1 {
                        backoff = RECONNECT_BACKOFF.0;
                    }
                    error
                }
                Err(error) => error,
            };
            self.note_down(store, &error);
            let pause = backoff.mul_f64(0.5 + fastrand::f64());
            backoff = (backoff * 2).min(RECONNECT_BACKOFF.1);
            tokio::select! {
                () = time::sleep(pause) => {}
                _ = orders.changed() => return,
            }
        }
    }

    fn note_down(&mut self, store: &LimitStore, error: &Error) {
        self.sharing.set_down(true);
        (self.health.is_news, self.health.answered, self.health.failed) = (true, 0, 0);
        self.stats.failures.fetch_add(1, Ordering::Relaxed);
        self.end_batch();
        if !std::mem::replace(&mut self.health.is_down_logged, true) {
            let effect = if store.is_fail_closed { "requests with global limits get 500" } else { "each proxy counts its part" };
            tracing::warn!("limit store {}: {error}; until it answers, {effect}", store.address);
        }
    }

    fn note_answer(&mut self, store: &LimitStore) {
        self.health.answered += 1;
        if std::mem::take(&mut self.health.is_down_logged) {
            tracing::info!("limit store {} answers again", store.address);
        }
    }

    /// Connects, and joins the other replicas: from then on requests ask the store.
    async fn connect(&mut self, store: &LimitStore) -> Result<Connection, Error> {
        let within = CONNECT_TIMEOUT.max(store.timeout);
        let mut connection = time::timeout(within, Connection::open(store)).await.map_err(|_| Error::Silent(within))??;
        if self.sharing.is_down() {
            self.recover(store, &mut connection).await?;
        }
        self.announce(store, &mut connection).await?;
        self.sharing.set_down(false);
        Ok(connection)
    }

    /// Tells a store that was away what this replica took meanwhile, and goes on counting alone until all replicas have told theirs: else the
    /// first would be granted what others have spent. One that does not come back counts no longer once its presence would have ended.
    async fn recover(&mut self, store: &LimitStore, connection: &mut Connection) -> Result<(), Error> {
        let end = Instant::now() + Duration::from_secs(PRESENCE_KEPT);
        self.counters.restate(&self.sharing, unix_time().as_secs());
        // Costs that come meanwhile are told afterwards, as is all that a slow store leaves no time for.
        for _ in 0..self.sharing.waiting().div_ceil(MAX_BATCH) {
            if Instant::now() >= end {
                break;
            }
            self.send_batch(store, connection).await?;
        }
        let known = self.sharing.replicas();
        let mut since = None;
        loop {
            self.stats.round_trips.fetch_add(1, Ordering::Relaxed);
            let presence = match self.replica.announce(connection, store, since.unwrap_or(0)).await {
                Ok(presence) => presence,
                // The node that knows the replicas is away.
                Err(_) if connection.is_cluster() => return Ok(()),
                Err(error) => return Err(error),
            };
            // No replica admits anything alone with `failClosed`: there is nothing to wait for while the store still counts all of them. One
            // that lost its memory counts those alone that have told it what they hold.
            let are_all_back = match store.is_fail_closed {
                true => presence.replicas >= known,
                false => since.is_some() && presence.fresh >= known,
            };
            if known <= 1 || are_all_back || Instant::now() >= end {
                return Ok(());
            }
            since.get_or_insert(presence.time / 1000);
            time::sleep(RECOVERY_INTERVAL).await;
        }
    }

    /// Says that the replica is there, and learns who else is. The node of a cluster that knows may be away while others answer.
    async fn announce(&mut self, store: &LimitStore, connection: &mut Connection) -> Result<(), Error> {
        self.stats.round_trips.fetch_add(1, Ordering::Relaxed);
        let presence = self.replica.announce(connection, store, 0).await;
        let now = unix_time();
        match presence {
            Ok(presence) => {
                self.sharing.observe(presence.replicas, presence.time, now.as_millis() as u64);
                // A store that has forgotten this replica may have forgotten its leases.
                self.health.is_news |= !presence.was_known;
                self.note_answer(store);
            }
            Err(_) if connection.is_cluster() && (self.health.answered > 0 || self.health.failed == 0) => {}
            Err(error) => return Err(error),
        }
        (self.health.answered, self.health.failed) = (0, 0);
        self.counters.sweep(&self.sharing, now.as_secs(), std::mem::take(&mut self.health.is_news));
        Ok(())
    }

    /// Sends what waits, as it comes. Orders, unused leases and the replica's presence have their turn between two batches.
    async fn serve(&mut self, store: &LimitStore, connection: &mut Connection) -> Result<(), Error> {
        let (mut sweep, mut present) = (time::interval(SWEEP_INTERVAL), Instant::now());
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (wake, sharing, mut orders) = (self.wake.clone(), self.sharing.clone(), self.orders.clone());
        loop {
            tokio::select! {
                biased;
                _ = orders.changed() => {
                    if *orders.borrow() == Order::End {
                        self.leave(store, connection).await;
                    }
                    return Ok(());
                }
                _ = sweep.tick() => {
                    self.counters.sweep(&sharing, unix_time().as_secs(), false);
                    if present.elapsed() >= PRESENCE_INTERVAL {
                        present = Instant::now();
                        self.announce(store, connection).await?;
                    }
                }
                () = waiting(&sharing, &wake) => self.send_batch(store, connection).await?,
            }
        }
    }

    /// Sends the counters that wait, at most a batch. One that the store errs for is counted without it for a while, and no other is.
    ///
    /// # Errors
    /// The connection is of no use, or nothing of the store is.
    async fn send_batch(&mut self, store: &LimitStore, connection: &mut Connection) -> Result<(), Error> {
        let claims = self.counters.claims(&self.sharing, unix_time().as_secs(), MAX_BATCH);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.stats.round_trips.fetch_add(1, Ordering::Relaxed);
        let outcomes = self.replica.claim(connection, store, &claims).await;
        let now = unix_time().as_secs();
        let (mut broken, mut refused) = (None, Vec::new());
        let mut is_any_answered = claims.is_empty();
        for (claim, outcome) in claims.into_iter().zip(outcomes) {
            match outcome {
                ClaimOutcome::Granted(grant) => {
                    self.counters.grant(&self.sharing, now, &claim, &grant);
                    is_any_answered = true;
                }
                ClaimOutcome::Superseded => is_any_answered = true,
                ClaimOutcome::Failed(error) if error.is_answer() || connection.is_cluster() => refused.push((claim, error)),
                ClaimOutcome::Failed(error) => {
                    self.counters.give_back(&self.sharing, claim);
                    broken.get_or_insert(error);
                }
            }
        }
        if is_any_answered {
            self.note_answer(store);
        }
        let refused_all = !is_any_answered && !refused.is_empty() && !connection.is_cluster();
        self.note_refused(store, now, refused);
        if broken.is_some() {
            self.sharing.set_down(true);
        }
        self.end_batch();
        match broken {
            Some(error) => Err(error),
            // A server that refuses everything, as a replica does, refuses this too.
            None if refused_all => self.announce(store, connection).await,
            None => Ok(()),
        }
    }

    fn note_refused(&mut self, store: &LimitStore, now: u64, refused: Vec<(CounterClaim, Error)>) {
        self.health.failed += refused.len() as u64;
        self.stats.refused.fetch_add(refused.len() as u64, Ordering::Relaxed);
        match refused.first() {
            Some((claim, error)) if !std::mem::replace(&mut self.health.are_failures_logged, true) => {
                let key = format!("{}limit:{}", store.prefix, claim.name());
                tracing::warn!("limit store {}: {key}: {error}; this counter is counted without the store", store.address);
            }
            Some(_) => {}
            None => self.health.are_failures_logged &= self.health.failed > 0,
        }
        for (claim, _) in refused {
            self.counters.refuse(&self.sharing, now, &claim);
        }
    }

    /// Wakes the requests that wait.
    fn end_batch(&self) {
        self.ended.send_replace(self.begun.load(Ordering::Relaxed));
    }

    /// Gives every lease back, as far as there is time.
    async fn leave(&mut self, store: &LimitStore, connection: &mut Connection) {
        let claims = self.counters.last_claims(&self.sharing, unix_time().as_secs());
        for batch in claims.chunks(MAX_BATCH) {
            self.replica.claim(connection, store, batch).await;
        }
        self.replica.leave(connection, store).await;
    }
}

/// Ready when counters wait.
async fn waiting(sharing: &Sharing, wake: &Notify) {
    while sharing.waiting() == 0 {
        wake.notified().await;
    }
}

/// Time since 1970.
fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
