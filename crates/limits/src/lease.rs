//! A replica's share of a counter that several replicas share.
//!
//! A store keeps, for each counter and window, how much each replica was granted; the sum never grows past the limit by a grant. A replica
//! spends what it was granted without asking, and asks for a batch when little is left: a share of the rest, so that batches shrink to single
//! units near the end. What it was granted is state, not a sum of steps: a message that is lost or repeated changes nothing.

use crate::rule_counters::Counter;

/// Batches that the rest of a counter makes for each replica: the first is an eighth of a replica's share of the limit.
const BATCHES: u64 = 8;
/// Smallest batch that is asked for before the one at hand is used up. Smaller ones would keep the last units from other replicas.
const MIN_AHEAD: u64 = 8;
/// Bounds of the time after which an unused lease goes back, in seconds; in between, a share of the window.
const IDLE: (u64, u64) = (2, 60);
/// Share of the window that a lease may lie unused.
const IDLE_SHARE: u64 = 6;
/// Time after which a store that refused a counter is asked again, if requests came meanwhile, in seconds.
const REFUSAL: u64 = 2;
/// Time without requests after which it is not, in seconds.
const REFUSAL_KEPT: u64 = 60;

/// Grant of a store to this replica, of one counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    /// Cost granted in the window, spent or not.
    granted: u64,
    /// Cost granted to all replicas, at the last answer.
    total: u64,
    /// Size of the last batch.
    batch: u64,
    /// Time of the last answer for this window, seconds.
    answered: Option<u64>,
    /// Time of the last request, seconds.
    used: u64,
    /// Cost that came when the window was over: the next one's.
    late: u64,
    /// Demand of requests that wait.
    demand: Demand,
    /// It waits to be sent.
    pub(crate) is_queued: bool,
    /// The process may have forgotten an earlier grant of this window.
    pub(crate) is_forgotten: bool,
    /// The part of the rest that this replica may take alone is in `granted` already.
    pub(crate) is_part_taken: bool,
    /// Time from which on a store that refused the counter is asked again, seconds.
    refused_until: Option<u64>,
}

/// Room that requests want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Least room that is of use; 0 if nothing is wanted.
    pub(crate) least: u64,
    /// Room for all.
    pub(crate) all: u64,
}

/// State of a replica's lease, and its demand, for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Begin of the window that the replica counts in.
    pub begin: u64,
    /// Length of the window, seconds.
    pub seconds: u64,
    /// Cost that a window has room for.
    pub limit: u64,
    /// Room that the store has granted to the replica, or that the replica has spent beyond it. `None`: the replica may have forgotten, and the
    /// store's number stands.
    pub granted: Option<u64>,
    /// Least further room that is of use; 0 asks for nothing.
    pub least: u64,
    /// Further room wanted.
    pub wanted: u64,
    /// Parts of the rest, of which a batch is one.
    pub parts: u64,
    /// The replica ends: its part is to be kept without its name.
    pub is_last: bool,
}

/// Answer of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Begin of the window at the store.
    pub begin: u64,
    /// Room that the store had granted to the replica before.
    pub before: u64,
    /// Room that the store grants to it now.
    pub granted: u64,
    /// All that it has granted to all replicas.
    pub total: u64,
}

impl Claim {
    /// Decides on a claim as a store does. `begin` is that of the window at the store, `own` what it knows of the replica, `others` what it has
    /// granted to others in this window.
    ///
    /// The script of the store's client is this function in another language.
    pub fn decide(&self, begin: u64, own: u64, others: u64) -> Grant {
        let before = self.granted.filter(|_| self.begin == begin).unwrap_or(own);
        let sum = before.saturating_add(others);
        let rest = self.limit.saturating_sub(sum);
        let granted = match self.least > 0 && rest >= self.least {
            true => self.wanted.max(rest / self.parts.max(1)).min(rest),
            false => 0,
        };
        Grant { begin, before, granted, total: sum.saturating_add(granted) }
    }
}

impl Counter {
    fn used(&self) -> u64 {
        self.spent.saturating_add(self.held)
    }

    /// The lease, for a counter that is shared from now on.
    pub(crate) fn lease(&mut self) -> &mut Lease {
        self.lease.get_or_insert_default()
    }

    /// Room for a request, of a lease that holds; `None` if the store has to be asked.
    pub(crate) fn leased(&mut self, now: u64, demand: Demand) -> Option<u64> {
        let (begin, seconds, limit, used) = (self.begin, self.seconds, self.limit, self.used());
        let lease = self.lease();
        lease.used = lease.used.max(now);
        let answered = lease.answered?;
        // A store whose clock is behind has said in this second that the window goes on.
        if now >= begin + seconds && answered < now {
            return None;
        }
        let left = lease.granted.saturating_sub(used);
        let has_just_answered = answered >= now;
        let rest = limit.saturating_sub(lease.total);
        let is_all_there_is = has_just_answered && (rest == 0 || left.saturating_add(rest) < demand.least);
        (demand.all <= left || is_all_there_is).then_some(left)
    }

    /// Room for a request, where the store does not answer: of the rest as it was last known, this replica's part.
    pub(crate) fn alone(&mut self, now: u64, window: crate::Window, replicas: u64) -> u64 {
        if now >= self.begin + self.seconds {
            self.renew(window.begin(now, None), 0);
        }
        let used = self.used();
        self.room_alone(replicas).saturating_sub(used)
    }

    /// Room that this replica has in the window without the store.
    fn room_alone(&mut self, replicas: u64) -> u64 {
        let limit = self.limit;
        let lease = self.lease();
        let rest = if lease.is_part_taken { 0 } else { limit.saturating_sub(lease.total.max(lease.granted)) };
        lease.granted.saturating_add(rest.div_ceil(replicas.max(1)))
    }

    /// Makes the part that this replica took of the rest alone its own, so that nobody else is granted it. Gives back whether the counter
    /// waits from now on for the store to hear of it.
    pub(crate) fn take_part(&mut self, now: u64, replicas: u64) -> bool {
        let used = self.used();
        if self.lease.is_none() || now >= self.begin + self.seconds {
            return self.queue(now, true);
        }
        if used > self.lease().granted {
            let room = self.room_alone(replicas).max(used);
            let lease = self.lease();
            (lease.granted, lease.is_part_taken) = (room, true);
        }
        self.queue(now, true)
    }

    /// Whether the store has refused the counter, and requests do not wait for it.
    pub(crate) fn is_refused(&self) -> bool {
        self.lease.as_deref().is_some_and(|lease| lease.refused_until.is_some())
    }

    /// Notes that the store refused.
    pub(crate) fn refuse(&mut self, now: u64) {
        self.lease().refused_until = Some(now + REFUSAL);
    }

    /// Begins a window.
    fn renew(&mut self, begin: u64, granted: u64) {
        self.begin = begin;
        self.held = 0;
        let lease = self.lease();
        (lease.granted, lease.total, lease.batch, lease.answered, lease.is_part_taken) = (granted, granted, 0, None, false);
        self.spent = std::mem::take(&mut lease.late);
    }

    /// Notes a cost that nobody asked room for.
    pub(crate) fn spend_leased(&mut self, now: u64, cost: u64) {
        let is_over = now >= self.begin + self.seconds;
        let lease = self.lease();
        match is_over {
            true => lease.late = lease.late.saturating_add(cost),
            false => self.spent = self.spent.saturating_add(cost),
        }
    }

    /// Whether the store is to hear of the counter. `all`: it has lost what it knew.
    pub(crate) fn is_due(&self, now: u64, all: bool) -> bool {
        let used = self.used();
        let Some(lease) = self.lease.as_deref().filter(|lease| !lease.is_queued) else { return false };
        if let Some(until) = lease.refused_until {
            return all || (now >= until && now < lease.used.saturating_add(REFUSAL_KEPT));
        }
        if now >= self.begin + self.seconds {
            return lease.late > 0;
        }
        used > lease.granted || (all && lease.granted > 0) || (lease.granted > used && self.is_idle(now))
    }

    /// Notes that the counter waits to be sent, if it is due and does not wait yet. Gives back whether it is.
    pub(crate) fn queue(&mut self, now: u64, all: bool) -> bool {
        let is_due = self.is_due(now, all);
        if is_due {
            self.lease().is_queued = true;
        }
        is_due
    }

    /// Whether the next batch is to be fetched while this one lasts.
    pub(crate) fn is_low(&self) -> bool {
        let used = self.used();
        self.lease.as_deref().is_some_and(|lease| {
            let is_open = lease.total < self.limit && lease.batch >= MIN_AHEAD;
            is_open && lease.granted.saturating_sub(used) < lease.batch / 4
        })
    }

    /// Whether the lease has lain unused for long; near the end for a moment, so that no other replica waits for it.
    fn is_idle(&self, now: u64) -> bool {
        let Some(lease) = self.lease.as_deref() else { return false };
        let is_near_end = self.limit.saturating_sub(lease.total) < self.limit / BATCHES;
        let idle = if is_near_end { IDLE.0 } else { (self.seconds / IDLE_SHARE).clamp(IDLE.0, IDLE.1) };
        now >= lease.used.saturating_add(idle)
    }

    /// Adds a demand to the next claim.
    pub(crate) fn demand(&mut self, demand: Demand) {
        let limit = self.limit;
        let waiting = &mut self.lease().demand;
        waiting.least = if waiting.least == 0 { demand.least } else { waiting.least.min(demand.least) };
        waiting.all = waiting.all.saturating_add(demand.all).min(limit);
    }

    /// The claim to send. What goes back is gone from here on, whether or not the claim arrives.
    pub(crate) fn claim(&mut self, now: u64, replicas: u64, is_last: bool) -> Claim {
        let (used, is_idle, is_low) = (self.used(), self.is_idle(now), self.is_low());
        let (begin, seconds, limit) = (self.begin, self.seconds, self.limit);
        let lease = self.lease();
        lease.is_queued = false;
        let demand = std::mem::take(&mut lease.demand);
        if is_last || (demand.least == 0 && is_idle) {
            lease.granted = lease.granted.min(used);
        }
        let unused = lease.granted.saturating_sub(used);
        let (least, wanted) = match demand.least {
            _ if is_last => (0, 0),
            // Ahead of the next request.
            0 => (u64::from(is_low && !is_idle), 0),
            least => (least.saturating_sub(unused).max(1), demand.all.saturating_sub(unused)),
        };
        Claim {
            begin,
            seconds,
            limit,
            granted: (!lease.is_forgotten).then(|| lease.granted.max(used)),
            least,
            wanted,
            parts: BATCHES.saturating_mul(replicas.max(1)),
            is_last,
        }
    }

    /// Takes an answer in.
    pub(crate) fn granted(&mut self, now: u64, claim: &Claim, grant: &Grant) {
        if grant.begin != self.begin {
            self.renew(grant.begin, 0);
            self.spent = self.spent.saturating_add(grant.before);
        } else if claim.granted.is_none() {
            self.spent = self.spent.saturating_add(grant.before);
        }
        let lease = self.lease();
        (lease.is_forgotten, lease.refused_until) = (false, None);
        lease.granted = grant.before.saturating_add(grant.granted);
        lease.total = grant.total;
        if grant.granted > 0 {
            lease.batch = grant.granted;
        }
        lease.answered = Some(now);
    }

    /// Room left in the window for all replicas, as far as this one knows.
    pub(crate) fn remaining(&self) -> u64 {
        let granted = self.lease.as_deref().map_or((0, 0), |lease| (lease.granted, lease.total.max(lease.granted)));
        self.limit.saturating_sub(granted.1).saturating_add(granted.0).saturating_sub(self.used())
    }
}
