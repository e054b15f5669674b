//! The task that owns the connection: it sends what waits, and takes the answers in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::try_join_all;
use pailou_limits::{Claim, CounterClaim, Counters, Grant, Sharing};
use pailou_snapshot::LimitStore;
use redis::FromRedisValue;
use tokio::{
    sync::{Notify, watch},
    time::{self, Instant, MissedTickBehavior},
};

use crate::{
    connection::{Connection, Script},
    error::Error,
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
/// Time after which a replica that says nothing does not count any more, seconds.
const PRESENCE_KEPT: u64 = 10;
/// Most claims of one batch.
const MAX_BATCH: usize = 256;
/// Largest number that the store's scripts count exactly.
const MAX_EXACT: u64 = (1 << 53) - 1;
/// Beginning of all keys.
const PREFIX: &str = "pailou:limit:";
/// Key of the replicas.
const REPLICAS: &str = "pailou:replicas";

/// The task.
pub(crate) struct StoreClient {
    pub(crate) store: LimitStore,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sharing: Arc<Sharing>,
    pub(crate) stats: Arc<StoreStats>,
    /// Counters wait.
    pub(crate) wake: Arc<Notify>,
    /// Number of the last batch that has begun.
    pub(crate) begun: Arc<AtomicU64>,
    /// Number of the last batch that has ended, however it did.
    pub(crate) ended: watch::Sender<u64>,
    /// The process ends.
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) lease: Script,
    pub(crate) presence: Script,
    /// Name of the replica.
    pub(crate) id: String,
    /// Number of the last claim.
    pub(crate) number: AtomicU64,
    /// The store has heard of this replica.
    pub(crate) is_present: bool,
}

impl StoreClient {
    /// Runs until it is told to stop, then gives every lease back.
    pub(crate) async fn run(mut self) {
        let (mut backoff, mut is_down) = (RECONNECT_BACKOFF.0, false);
        loop {
            let error = match self.connect().await {
                Ok(mut connection) => {
                    if std::mem::take(&mut is_down) {
                        tracing::info!("limit store {} answers again", self.store.address);
                    }
                    self.sharing.set_down(false);
                    let begun = self.begun.load(Ordering::Relaxed);
                    let Err(error) = self.serve(&mut connection).await else { return };
                    if self.begun.load(Ordering::Relaxed) > begun + 1 {
                        backoff = RECONNECT_BACKOFF.0;
                    }
                    error
                }
                Err(error) => error,
            };
            self.sharing.set_down(true);
            self.stats.failures.fetch_add(1, Ordering::Relaxed);
            self.end_batch();
            if !std::mem::replace(&mut is_down, true) {
                let effect =
                    if self.store.is_fail_closed { "requests with global limits get 500" } else { "each proxy counts its part" };
                tracing::warn!("limit store {}: {error}; until it answers, {effect}", self.store.address);
            }
            let pause = backoff.mul_f64(0.5 + fastrand::f64());
            backoff = (backoff * 2).min(RECONNECT_BACKOFF.1);
            tokio::select! {
                () = time::sleep(pause) => {}
                () = stopped(&mut self.stop) => return,
            }
        }
    }

    async fn connect(&mut self) -> Result<Connection, Error> {
        let within = CONNECT_TIMEOUT.max(self.store.timeout);
        let open = async {
            let mut connection = Connection::open(&self.store).await?;
            self.announce(&mut connection).await?;
            Ok(connection)
        };
        time::timeout(within, open).await.map_err(|_| Error::Silent(within))?
    }

    /// Says that the replica is there, and learns who else is.
    async fn announce(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let answer = connection.run(&self.presence, REPLICAS, &[self.id.clone(), PRESENCE_KEPT.to_string()]).await?;
        self.stats.round_trips.fetch_add(1, Ordering::Relaxed);
        let [was_known, replicas, time] = <[u64; 3]>::from_redis_value(answer).map_err(redis::RedisError::from)?;
        let now = unix_time();
        self.sharing.observe(replicas, time, now.as_millis() as u64);
        // A store that has forgotten this replica may have forgotten its leases; one that has been away knows none of the latest.
        let has_forgotten = std::mem::replace(&mut self.is_present, true) && was_known == 0;
        let all = has_forgotten || self.sharing.is_down();
        self.counters.sweep(&self.sharing, now.as_secs(), all);
        Ok(())
    }

    async fn serve(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let (mut sweep, mut present) = (time::interval(SWEEP_INTERVAL), Instant::now());
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (wake, mut stop) = (self.wake.clone(), self.stop.clone());
        loop {
            while self.sharing.waiting() > 0 {
                let claims = self.counters.claims(&self.sharing, unix_time().as_secs(), MAX_BATCH);
                self.send(connection, claims).await?;
            }
            tokio::select! {
                () = wake.notified() => {}
                _ = sweep.tick() => {
                    self.counters.sweep(&self.sharing, unix_time().as_secs(), false);
                    if present.elapsed() >= PRESENCE_INTERVAL {
                        present = Instant::now();
                        let within = self.store.timeout;
                        time::timeout(within, self.announce(connection)).await.map_err(|_| Error::Silent(within))??;
                    }
                }
                () = stopped(&mut stop) => {
                    self.leave(connection).await;
                    return Ok(());
                }
            }
        }
    }

    /// Sends a batch. Claims that are not answered wait again.
    async fn send(&mut self, connection: &Connection, claims: Vec<CounterClaim>) -> Result<(), Error> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.stats.round_trips.fetch_add(1, Ordering::Relaxed);
        let result = self.ask(connection, &claims).await;
        let now = unix_time().as_secs();
        let outcome = match result {
            Ok(grants) => {
                for (claim, grant) in claims.iter().zip(&grants) {
                    if let Some(grant) = grant {
                        self.counters.grant(&self.sharing, now, claim, grant);
                    }
                }
                Ok(())
            }
            Err(error) => {
                self.counters.give_back(&self.sharing, claims);
                self.sharing.set_down(true);
                Err(error)
            }
        };
        self.end_batch();
        outcome
    }

    async fn ask(&self, connection: &Connection, claims: &[CounterClaim]) -> Result<Vec<Option<Grant>>, Error> {
        let answers = try_join_all(claims.iter().map(|claim| {
            let (key, arguments) = (format!("{PREFIX}{}", claim.name()), self.arguments(&claim.claim));
            let mut connection = connection.clone();
            async move {
                let answer = connection.run(&self.lease, &key, &arguments).await?;
                let numbers = Vec::<u64>::from_redis_value(answer).map_err(redis::RedisError::from)?;
                // Nothing: a later claim of this replica was there first.
                Ok::<_, Error>(match numbers[..] {
                    [begin, before, granted, total] => Some(Grant { begin, before, granted, total }),
                    _ => None,
                })
            }
        }));
        time::timeout(self.store.timeout, answers).await.map_err(|_| Error::Silent(self.store.timeout))?
    }

    fn arguments(&self, claim: &Claim) -> [String; 10] {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let exact = |value: u64| value.min(MAX_EXACT).to_string();
        [
            self.id.clone(),
            number.to_string(),
            claim.seconds.to_string(),
            claim.begin.to_string(),
            exact(claim.limit),
            claim.granted.map_or_else(|| "-1".to_owned(), exact),
            exact(claim.least),
            exact(claim.wanted),
            claim.parts.to_string(),
            u8::from(claim.is_last).to_string(),
        ]
    }

    /// Wakes the requests that wait.
    fn end_batch(&self) {
        self.ended.send_replace(self.begun.load(Ordering::Relaxed));
    }

    /// Gives every lease back, as far as there is time.
    async fn leave(&mut self, connection: &mut Connection) {
        let claims = self.counters.last_claims(&self.sharing, unix_time().as_secs());
        for batch in claims.chunks(MAX_BATCH) {
            if self.ask(connection, batch).await.is_err() {
                return;
            }
        }
        let mut command = redis::cmd("ZREM");
        command.arg(REPLICAS).arg(&self.id);
        // Without it, the store forgets this replica by itself.
        let _ = time::timeout(self.store.timeout, connection.send(&command)).await;
    }
}

/// Ready when the process ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error is the sender's end.
    let _ = stop.wait_for(|is_stopped| *is_stopped).await;
}

/// Time since 1970.
fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
