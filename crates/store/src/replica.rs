//! This process as the store knows it: one name and one sequence of claims for as long as it runs, whichever store it counts in.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use pailou_limits::{Claim, CounterClaim, Grant};
use pailou_snapshot::LimitStore;
use redis::{FromRedisValue, RedisError, Value};
use tokio::time;

use crate::{
    connection::{Connection, Script},
    error::Error,
};

/// Time after which a replica that says nothing does not count any more, seconds.
pub(crate) const PRESENCE_KEPT: u64 = 10;
/// Largest number that the store's scripts count exactly.
const MAX_EXACT: u64 = (1 << 53) - 1;

/// This process.
pub(crate) struct Replica {
    id: String,
    /// Number of the last claim.
    number: AtomicU64,
    lease: Script,
    presence: Script,
}

/// Answer of a store to a claim.
#[derive(Debug)]
pub(crate) enum ClaimOutcome {
    /// It granted something, or nothing.
    Granted(Grant),
    /// A later claim of this replica was there first.
    Superseded,
    /// It did not answer, or with an error.
    Failed(Error),
}

/// Answer of a store to a replica that says that it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presence {
    /// The store knew the replica.
    pub(crate) was_known: bool,
    /// Replicas, with this one.
    pub(crate) replicas: u64,
    /// The store's time, milliseconds since 1970.
    pub(crate) time: u64,
    /// Replicas that have said that they are there since the time that was asked for.
    pub(crate) fresh: u64,
}

impl Replica {
    /// A process of a name that no other has.
    pub(crate) fn new() -> Self {
        Self {
            id: format!("{:016x}", fastrand::u64(..)),
            number: AtomicU64::new(0),
            lease: Script::new(include_str!("lease.lua")),
            presence: Script::new(include_str!("replicas.lua")),
        }
    }

    /// Says that the replica is there, and learns who else is, and who has said so since a time in seconds.
    ///
    /// # Errors
    /// The store does not answer in time, or with an error.
    pub(crate) async fn announce(&self, connection: &mut Connection, store: &LimitStore, since: u64) -> Result<Presence, Error> {
        let (key, arguments) = (replicas_key(store), [self.id.clone(), PRESENCE_KEPT.to_string(), since.to_string()]);
        let answer = within(store.timeout, connection.run(&self.presence, &key, &arguments)).await?;
        let [was_known, replicas, time, fresh] = <[u64; 4]>::from_redis_value(answer).map_err(RedisError::from)?;
        Ok(Presence { was_known: was_known != 0, replicas, time, fresh })
    }

    /// Sends claims, all at once. Gives an outcome for each, within the store's time.
    pub(crate) async fn claim(&self, connection: &Connection, store: &LimitStore, claims: &[CounterClaim]) -> Vec<ClaimOutcome> {
        join_all(claims.iter().map(|claim| {
            let (key, arguments) = (format!("{}limit:{}", store.prefix, claim.name()), self.arguments(&claim.claim));
            let mut connection = connection.clone();
            async move {
                match within(store.timeout, connection.run(&self.lease, &key, &arguments)).await.and_then(grant) {
                    Ok(Some(grant)) => ClaimOutcome::Granted(grant),
                    Ok(None) => ClaimOutcome::Superseded,
                    Err(error) => ClaimOutcome::Failed(error),
                }
            }
        }))
        .await
    }

    /// Says that the replica is gone. A store that does not hear it forgets the replica by itself.
    pub(crate) async fn leave(&self, connection: &mut Connection, store: &LimitStore) {
        let mut command = redis::cmd("ZREM");
        command.arg(replicas_key(store)).arg(&self.id);
        let _ = within(store.timeout, connection.send(&command)).await;
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
}

/// Key of the replicas that are there.
fn replicas_key(store: &LimitStore) -> String {
    format!("{}replicas", store.prefix)
}

fn grant(answer: Value) -> Result<Option<Grant>, Error> {
    let numbers = Vec::<u64>::from_redis_value(answer).map_err(RedisError::from)?;
    Ok(match numbers[..] {
        [begin, before, granted, total] => Some(Grant { begin, before, granted, total }),
        _ => None,
    })
}

async fn within<T>(timeout: Duration, answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, Error> {
    Ok(time::timeout(timeout, answer).await.map_err(|_| Error::Silent(timeout))??)
}
