//! The requests whose receipts are kept: failed, retried and slow ones always, others by sampling.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Most receipts of failed, retried and slow requests that are made in a second: a flood of refused requests must cost little.
pub const MAX_PER_SECOND: u32 = 256;
/// The same of requests that failed by what the client sent or did: scans must not push out failures that an operator can mend.
pub const MAX_OF_CLIENTS_PER_SECOND: u32 = 16;

/// Reason for which a receipt is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An operator waited for such a request.
    Traced,
    /// The gateway refused or broke it off, or the backend answered 500 or above.
    Failed,
    /// It failed by what the client sent or did.
    FailedByClient,
    /// It took more than one attempt.
    Retried,
    /// Its first content took longer than the operator says.
    Slow,
    /// By chance.
    Sampled,
}

impl Reason {
    /// The word in receipts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traced => "traced",
            Self::Failed | Self::FailedByClient => "failed",
            Self::Retried => "retried",
            Self::Slow => "slow",
            Self::Sampled => "sampled",
        }
    }
}

/// Facts of a request that has ended, or is about to.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFacts {
    /// It failed.
    pub failed: bool,
    /// It failed by what the client sent or did.
    pub by_client: bool,
    /// Attempts made.
    pub attempts: u32,
    /// Time from its head to the first content of the response.
    pub duration: Duration,
}

/// Rules of the selection.
#[derive(Debug)]
pub struct Selection {
    /// Of 2³² requests so many are kept by chance.
    share: u64,
    /// Requests that take longer are kept; `None` keeps none for that.
    slow: Option<Duration>,
    /// The second, and the receipts that were made in it.
    budget: AtomicU64,
    /// The same of those that failed by their client.
    clients_budget: AtomicU64,
}

impl Selection {
    /// Keeps this share of requests by chance, 0 to 1, and all that take longer than `slow`.
    pub fn new(share: f64, slow: Option<Duration>) -> Self {
        // A cast from a float saturates.
        Self {
            share: (share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64,
            slow,
            budget: AtomicU64::new(0),
            clients_budget: AtomicU64::new(0),
        }
    }

    /// Why a request's receipt is to be kept, if it is; `random` is asked only where nothing else decides.
    pub fn select(&self, facts: &RequestFacts, random: impl FnOnce() -> u32) -> Option<Reason> {
        if facts.failed && facts.by_client {
            Some(Reason::FailedByClient)
        } else if facts.failed {
            Some(Reason::Failed)
        } else if facts.attempts > 1 {
            Some(Reason::Retried)
        } else if self.slow.is_some_and(|slow| facts.duration > slow) {
            Some(Reason::Slow)
        } else {
            (self.share > 0 && u64::from(random()) < self.share).then_some(Reason::Sampled)
        }
    }

    /// Takes room for one more receipt in this second, for reasons that have no share; whether there was some.
    pub fn take_room(&self, reason: Reason, second: u32) -> bool {
        let (budget, most) = match reason {
            Reason::Sampled | Reason::Traced => return true,
            Reason::FailedByClient => (&self.clients_budget, MAX_OF_CLIENTS_PER_SECOND),
            Reason::Failed | Reason::Retried | Reason::Slow => (&self.budget, MAX_PER_SECOND),
        };
        let this = u64::from(second) << 32;
        let count = |before: u64| if before & !0xffff_ffff == this { before + 1 } else { this + 1 };
        let most = this + u64::from(most);
        let took = budget.fetch_update(Relaxed, Relaxed, |before| Some(count(before)).filter(|after| *after <= most));
        took.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(failed: bool, attempts: u32, seconds: u64) -> RequestFacts {
        RequestFacts { failed, by_client: false, attempts, duration: Duration::from_secs(seconds) }
    }

    #[test]
    fn failed_retried_and_slow_requests_are_always_kept() {
        let selection = Selection::new(0.0, Some(Duration::from_secs(10)));
        let select = |facts| selection.select(&facts, || unreachable!("nothing is sampled"));
        assert_eq!(select(facts(true, 0, 0)), Some(Reason::Failed));
        assert_eq!(select(facts(false, 2, 0)), Some(Reason::Retried));
        assert_eq!(select(facts(false, 1, 11)), Some(Reason::Slow));
        assert_eq!(select(facts(false, 1, 9)), None);
    }

    #[test]
    fn a_failure_is_its_client_s_only_where_it_failed() {
        let selection = Selection::new(0.0, None);
        let facts = |failed| RequestFacts { failed, by_client: true, attempts: 2, duration: Duration::ZERO };
        assert_eq!(selection.select(&facts(true), || 0), Some(Reason::FailedByClient));
        assert_eq!(selection.select(&facts(false), || 0), Some(Reason::Retried));
    }

    #[test]
    fn a_share_of_the_others_is_kept() {
        let select = |share, random| Selection::new(share, None).select(&facts(false, 1, 9999), || random);
        assert_eq!(select(1.0, u32::MAX), Some(Reason::Sampled));
        assert_eq!(select(0.5, u32::MAX / 2), Some(Reason::Sampled));
        assert_eq!(select(0.5, u32::MAX / 2 + 1), None);
    }

    #[test]
    fn a_flood_of_failures_is_bounded_by_the_second() {
        let selection = Selection::new(0.01, None);
        let kept = |reason| (0..1000).filter(|_| selection.take_room(reason, 7)).count();
        assert_eq!(kept(Reason::FailedByClient), MAX_OF_CLIENTS_PER_SECOND as usize);
        assert_eq!(kept(Reason::Failed), MAX_PER_SECOND as usize, "clients' mistakes take none of it");
        assert!(selection.take_room(Reason::Sampled, 7) && selection.take_room(Reason::Failed, 8));
    }
}
