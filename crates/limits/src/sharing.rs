//! Counters that several replicas share: those that wait for the store, and its answers. The store's client drives this.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use ring::digest;

use crate::{Claim, Counters, Grant, WindowKind, counters::CounterKey, rule_counters::Counter};

/// Sharing of counters with other replicas.
pub struct Sharing {
    /// Counters that wait to be sent, each at most once.
    queue: Mutex<VecDeque<CounterKey>>,
    /// Replicas that share, with this one.
    replicas: AtomicU64,
    /// Seconds by which the store's clock is ahead.
    ahead: AtomicI64,
    is_down: AtomicBool,
    /// Called when a counter begins to wait.
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A claim on one counter.
#[derive(Clone, Debug)]
pub struct CounterClaim {
    key: CounterKey,
    /// The claim.
    pub claim: Claim,
}

/// Counters that wait at most. More are asked for once some have been answered.
const MAX_WAITING: usize = 100_000;

/// A request's counter has no lease yet, or what is left of it is too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unleased {
    /// The store has been asked.
    Asked,
    /// The store has refused the counter of late, and is not asked by requests.
    Refused,
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharing").field("replicas", &self.replicas).field("is_down", &self.is_down).finish_non_exhaustive()
    }
}

impl Sharing {
    /// Sharing with so many replicas until the store tells how many there are. `wake` must not call back.
    pub fn new(replicas: u64, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            queue: Mutex::default(),
            replicas: AtomicU64::new(replicas.max(1)),
            ahead: AtomicI64::new(0),
            is_down: AtomicBool::new(false),
            wake: Box::new(wake),
        }
    }

    /// Notes how many replicas there are, and the store's time beside this process's, both in milliseconds since 1970.
    pub fn observe(&self, replicas: u64, theirs: u64, ours: u64) {
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
        // Less than half a second is the network's, or rounding's.
        let ahead = (theirs as i64).saturating_sub(ours as i64);
        self.ahead.store((ahead + 500).div_euclid(1000), Ordering::Relaxed);
    }

    /// Replicas that share, with this one.
    pub fn replicas(&self) -> u64 {
        self.replicas.load(Ordering::Relaxed)
    }

    /// Notes whether the store answers.
    pub fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Whether the store does not answer.
    pub fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// The store's time, in seconds since 1970, when it is `now` here.
    pub(crate) fn time(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.ahead.load(Ordering::Relaxed))
    }

    pub(crate) fn push(&self, key: CounterKey) {
        self.queue.lock().push_back(key);
        (self.wake)();
    }

    /// Whether another counter may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.lock().len() < MAX_WAITING
    }

    /// Counters that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.queue.lock().len()
    }
}

impl CounterClaim {
    /// Name of the counter at the store: a digest of the rule's content, of the targets that share it, and of the client's values.
    pub fn name(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        let (rule, target, seconds) = self.key.rule;
        for part in [rule, target, seconds] {
            context.update(&part.to_be_bytes());
        }
        context.update(self.key.descriptor.as_bytes());
        context.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Counters {
    /// Shares global limits with other replicas from now on, or (`None`) counts them alone.
    pub fn share(&self, sharing: Option<Arc<Sharing>>) {
        let is_shared = sharing.is_some();
        self.sharing.store(sharing);
        self.is_shared.store(is_shared, Ordering::Release);
    }

    /// The sharing of counters with windows of this kind.
    pub(crate) fn sharing_of(&self, kind: WindowKind) -> Option<Arc<Sharing>> {
        match kind {
            WindowKind::Epoch if self.is_shared.load(Ordering::Acquire) => self.sharing.load_full(),
            WindowKind::Epoch | WindowKind::First => None,
        }
    }

    /// Claims of counters that wait, at most this many.
    pub fn claims(&self, sharing: &Sharing, now: u64, most: usize) -> Vec<CounterClaim> {
        let mut claims = Vec::new();
        while claims.len() < most {
            let Some(key) = sharing.queue.lock().pop_front() else { break };
            let claim = self.with_counter(&key, |counter| counter.claim(sharing.time(now), sharing.replicas(), false));
            // Before all replicas have told a store what they hold, none asks for more.
            let quiet = |claim: Claim| if sharing.is_down() { Claim { least: 0, wanted: 0, ..claim } } else { claim };
            claims.extend(claim.map(|claim| CounterClaim { key, claim: quiet(claim) }));
        }
        claims
    }

    /// Takes the store's answer to a claim in.
    pub fn grant(&self, sharing: &Sharing, now: u64, claim: &CounterClaim, grant: &Grant) {
        let now = sharing.time(now);
        let is_due = self.with_counter(&claim.key, |counter| {
            counter.granted(now, &claim.claim, grant);
            counter.lease().is_part_taken &= sharing.is_down();
            counter.queue(now, false)
        });
        if is_due == Some(true) {
            sharing.push(claim.key.clone());
        }
    }

    /// Puts a claim back that did not arrive.
    pub fn give_back(&self, sharing: &Sharing, CounterClaim { key, .. }: CounterClaim) {
        // Demands are not kept: the requests do not wait any more.
        let is_new = self.with_counter(&key, |counter| !std::mem::replace(&mut counter.lease().is_queued, true));
        if is_new == Some(true) {
            sharing.queue.lock().push_back(key);
        }
    }

    /// Notes that the store refuses a counter, or the node that has it does not answer: for a while it is counted without. A sweep asks again.
    pub fn refuse(&self, sharing: &Sharing, now: u64, claim: &CounterClaim) {
        let now = sharing.time(now);
        self.with_counter(&claim.key, |counter| counter.refuse(now));
    }

    /// Has all counters wait whose state the store should know: those that overdrew, and leases that lie unused. `all`: every lease, because
    /// the store has lost what it knew.
    pub fn sweep(&self, sharing: &Sharing, now: u64, all: bool) {
        let now = sharing.time(now);
        for key in self.collect(|counter| counter.queue(now, all)) {
            sharing.push(key);
        }
    }

    /// Has all leases wait, for a store that has been away: those that were spent beyond what was granted with the part that this replica may
    /// take alone.
    pub fn restate(&self, sharing: &Sharing, now: u64) {
        let now = sharing.time(now);
        for key in self.collect(|counter| counter.take_part(now, sharing.replicas())) {
            sharing.push(key);
        }
    }

    /// The claims by which this replica ends: everything unused goes back.
    pub fn last_claims(&self, sharing: &Sharing, now: u64) -> Vec<CounterClaim> {
        let now = sharing.time(now);
        let mut claims = Vec::new();
        let keys = self.collect(|counter| {
            let is_live = counter.lease.is_some() && now < counter.begin + counter.seconds;
            if is_live {
                claims.push(counter.claim(now, sharing.replicas(), true));
            }
            is_live
        });
        keys.into_iter().zip(claims).map(|(key, claim)| CounterClaim { key, claim }).collect()
    }

    fn with_counter<T>(&self, key: &CounterKey, act: impl FnOnce(&mut Counter) -> T) -> Option<T> {
        let mut shard = self.shard(key.rule).lock();
        shard.get_mut(&key.rule)?.counters.get_mut(key.descriptor.as_bytes()).map(act)
    }

    /// Keys of the counters that a predicate, which may change them, chooses.
    fn collect(&self, mut choose: impl FnMut(&mut Counter) -> bool) -> Vec<CounterKey> {
        let mut keys = Vec::new();
        for shard in &self.shards {
            for (rule, counters) in shard.lock().iter_mut() {
                for (bytes, counter) in &mut counters.counters {
                    if choose(counter) {
                        keys.push(CounterKey::of_shared(*rule, bytes));
                    }
                }
            }
        }
        keys
    }
}
