//! Answers, kept for their time and a while beyond it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Answer, ResolveError};

/// Most names kept.
const CAPACITY: usize = 1024;
/// An answer holds at least this long, whatever it says.
const MIN_TTL: Duration = Duration::from_secs(1);
/// An answer holds at most this long, whatever it says.
const MAX_TTL: Duration = Duration::from_secs(3600);
/// A failure holds this long.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// An answer is used beyond its time, while it is renewed, for at most this long. After that a lookup comes first.
const MAX_STALE: Duration = Duration::from_secs(3600);

/// A name that nobody has asked for in this time is not counted as one that DNS does not renew.
const UNUSED_AFTER: Duration = Duration::from_secs(3600);

/// Answers by name.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<Arc<str>, Entry>>);

type Known = Result<Arc<[IpAddr]>, ResolveError>;

#[derive(Default)]
struct Entry {
    answer: Option<(Known, Instant)>,
    /// When the addresses were found.
    found: Option<Instant>,
    /// When the next lookup may begin, after one that failed while addresses were known.
    retry_at: Option<Instant>,
    used: Option<Instant>,
    /// It is no endpoint's any more.
    is_gone: bool,
    /// Told when the lookup under way is complete; `None` where there is none.
    under_way: Option<Arc<Notify>>,
}

/// The cache's entry of a name.
pub(super) enum CacheLookup {
    /// An answer that holds.
    Fresh(Known),
    /// Addresses whose time is over: good to use, to be renewed.
    Stale(Arc<[IpAddr]>),
    /// Nothing usable, but a lookup is under way. With what was known before it.
    WaitFor(Arc<Notify>, Option<Known>),
    /// Nothing: a lookup has to be begun.
    Absent,
}

impl Cache {
    /// Looks a name up. Addresses hold for as long as their answer says, or else for `refresh`.
    pub(super) fn find(&self, host: &str, refresh: Option<Duration>) -> CacheLookup {
        let now = Instant::now();
        let mut entries = self.0.lock();
        let Some(entry) = entries.get_mut(host) else { return CacheLookup::Absent };
        entry.used = Some(now);
        entry.is_gone = false;
        let holds_until = |known: &Known, until: Instant| match (refresh, known, entry.found) {
            (Some(refresh), Ok(_), Some(found)) => (found + refresh.clamp(MIN_TTL, MAX_TTL)).max(entry.retry_at.unwrap_or(found)),
            _ => until,
        };
        match (&entry.answer, &entry.under_way) {
            (Some((answer, until)), _) if now < holds_until(answer, *until) => CacheLookup::Fresh(answer.clone()),
            (Some((Ok(addresses), until)), _) if now < *until + MAX_STALE => CacheLookup::Stale(Arc::clone(addresses)),
            (answer, Some(done)) => CacheLookup::WaitFor(Arc::clone(done), answer.as_ref().map(|(answer, _)| answer.clone())),
            (_, None) => CacheLookup::Absent,
        }
    }

    /// Notes that a lookup begins; `None` when one is under way.
    pub(super) fn begin(&self, host: &str) -> Option<Arc<str>> {
        let mut entries = self.0.lock();
        if let Some((name, entry)) = entries.get_key_value(host).map(|(name, entry)| (Arc::clone(name), entry)) {
            if entry.under_way.is_some() {
                return None;
            }
            entries.get_mut(host)?.under_way = Some(Arc::default());
            return Some(name);
        }
        if entries.len() >= CAPACITY {
            // Rare, and cheaper than keeping an order at every use.
            let idle = entries.iter().filter(|(_, entry)| entry.under_way.is_none()).min_by_key(|(_, entry)| entry.used);
            if let Some(name) = idle.map(|(name, _)| Arc::clone(name)) {
                entries.remove(&name);
            }
        }
        let name: Arc<str> = host.into();
        let entry = Entry {
            answer: None,
            found: None,
            retry_at: None,
            used: Some(Instant::now()),
            is_gone: false,
            under_way: Some(Arc::default()),
        };
        entries.insert(Arc::clone(&name), entry);
        Some(name)
    }

    /// Takes a lookup's outcome and tells those who wait for it. While DNS gives no answer, known addresses stay in use without end, as
    /// Envoy's STRICT_DNS clusters keep theirs: to forget them would end what works. An answer without addresses ends them.
    pub(super) fn complete(&self, host: &Arc<str>, answer: Answer) {
        let now = Instant::now();
        let mut entries = self.0.lock();
        let entry = entries.entry(Arc::clone(host)).or_default();
        if matches!(&answer, Ok((addresses, _)) if !addresses.is_empty()) {
            entry.found = Some(now);
        }
        let was_answered = entry.retry_at.is_none();
        entry.retry_at = answer.is_err().then(|| now + NEGATIVE_TTL);
        entry.answer = Some(match answer {
            Ok((addresses, until)) if !addresses.is_empty() => (Ok(addresses.into()), until.clamp(now + MIN_TTL, now + MAX_TTL)),
            Ok(_) => (Err(ResolveError::NoAddress(Arc::clone(host))), now + NEGATIVE_TTL),
            Err(error @ ResolveError::Failed { .. }) => match entry.answer.take() {
                Some((Ok(addresses), _)) => {
                    if was_answered {
                        tracing::warn!(%host, reason = %error, "DNS gives no answer; known addresses stay in use");
                    }
                    (Ok(addresses), now + NEGATIVE_TTL)
                }
                _ => (Err(error), now + NEGATIVE_TTL),
            },
            Err(error) => (Err(error), now + NEGATIVE_TTL),
        });
        if let Some(done) = entry.under_way.take() {
            done.notify_waiters();
        }
        if entry.is_gone {
            entries.remove(host);
        }
    }

    /// Forgets names that are no endpoints' any more: one that is looked up, once its answer has come, unless somebody asks for it.
    pub(super) fn forget(&self, is_gone: impl Fn(&str) -> bool) {
        self.0.lock().retain(|host, entry| {
            entry.is_gone = is_gone(host);
            entry.under_way.is_some() || !entry.is_gone
        });
    }

    /// How many names have known addresses that DNS gave no answer to renew, of those that somebody has asked for of late: a lookup follows
    /// from use alone, so that nothing would renew the others.
    pub(super) fn unrenewed(&self) -> usize {
        let (now, entries) = (Instant::now(), self.0.lock());
        let is_used = |entry: &Entry| entry.used.is_some_and(|used| now.saturating_duration_since(used) < UNUSED_AFTER);
        let is_unrenewed = |entry: &Entry| entry.retry_at.is_some() && matches!(entry.answer, Some((Ok(_), _)));
        entries.values().filter(|entry| is_used(entry) && is_unrenewed(entry)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_addresses_are_not_looked_up_again_at_once_after_a_failure() {
        let (cache, host, refresh) = (Cache::default(), Arc::from("a.example"), Some(Duration::from_secs(1)));
        cache.complete(&host, Ok((vec!["10.0.0.1".parse().unwrap()], Instant::now())));
        cache.0.lock().get_mut(&host).unwrap().found = Some(Instant::now() - Duration::from_secs(60));
        assert!(matches!(cache.find(&host, refresh), CacheLookup::Stale(_)));
        cache.complete(
            &host,
            Err(ResolveError::Failed { host: Arc::clone(&host), source: hickory_resolver::net::NetError::Timeout }),
        );
        assert!(matches!(cache.find(&host, refresh), CacheLookup::Fresh(Ok(_))), "the resolver has its pause");
        cache.0.lock().get_mut(&host).unwrap().retry_at = Some(Instant::now());
        assert!(matches!(cache.find(&host, refresh), CacheLookup::Stale(_)), "after which it is asked again");
    }

    #[test]
    fn known_addresses_stay_in_use_while_dns_gives_no_answer_and_no_longer() {
        let (cache, host) = (Cache::default(), Arc::from("a.example"));
        let failed = || ResolveError::Failed { host: Arc::clone(&host), source: hickory_resolver::net::NetError::Timeout };
        cache.complete(&host, Ok((vec!["10.0.0.1".parse().unwrap()], Instant::now())));
        assert_eq!(cache.unrenewed(), 0);
        for _ in 0..3 {
            let long_ago = Instant::now().checked_sub(2 * MAX_STALE).unwrap_or_else(Instant::now);
            if let Some((_, until)) = &mut cache.0.lock().get_mut(&host).unwrap().answer {
                *until = long_ago;
            }
            cache.complete(&host, Err(failed()));
            assert!(matches!(cache.find(&host, None), CacheLookup::Fresh(Ok(_))));
            assert_eq!(cache.unrenewed(), 1);
        }
        cache.complete(&host, Err(ResolveError::NoAddress(Arc::clone(&host))));
        assert!(matches!(cache.find(&host, None), CacheLookup::Fresh(Err(_))));
        assert_eq!(cache.unrenewed(), 0);
    }

    #[test]
    fn names_that_are_gone_or_unused_are_not_counted_as_unrenewed() {
        let (cache, host) = (Cache::default(), Arc::<str>::from("a.example"));
        let failed = || ResolveError::Failed { host: Arc::clone(&host), source: hickory_resolver::net::NetError::Timeout };
        let unrenewed = || {
            cache.complete(&host, Ok((vec!["10.0.0.1".parse().unwrap()], Instant::now())));
            cache.find(&host, None);
            cache.complete(&host, Err(failed()));
            assert_eq!(cache.unrenewed(), 1);
        };
        unrenewed();
        cache.forget(|_| false);
        assert_eq!(cache.unrenewed(), 1);
        cache.forget(|name| name == &*host);
        assert!(cache.unrenewed() == 0 && cache.0.lock().is_empty());
        // During a lookup.
        unrenewed();
        assert!(cache.begin(&host).is_some());
        cache.forget(|name| name == &*host);
        cache.complete(&host, Err(failed()));
        assert!(cache.0.lock().is_empty());
        unrenewed();
        cache.0.lock().get_mut(&host).unwrap().used = Instant::now().checked_sub(2 * UNUSED_AFTER);
        assert_eq!(cache.unrenewed(), 0);
    }
}
