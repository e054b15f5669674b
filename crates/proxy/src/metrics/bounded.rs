//! Series by key, within bounds.

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;

/// When there are as many as there may be, those that had no request for this long make room. Going through them all takes a while, and is
/// not done more often either.
const IDLE: Duration = Duration::from_secs(60);

/// The series of each key that had a request. Those beyond the bound share one.
pub(super) struct Bounded<K, T> {
    all: RwLock<All<K, T>>,
    most: usize,
}

struct All<K, T> {
    of: HashMap<K, One<T>, RandomState>,
    other: Option<Arc<T>>,
    /// When room was last looked for.
    swept: Option<Instant>,
}

struct One<T> {
    series: Arc<T>,
    /// Since room was last looked for.
    is_used: AtomicBool,
}

impl<K: Eq + Hash, T: Default> Bounded<K, T> {
    /// Series of at most so many keys.
    pub(super) fn new(most: usize) -> Self {
        Self { all: RwLock::new(All { of: HashMap::default(), other: None, swept: None }), most }
    }

    /// Counts in the series of a key; `own` makes one to keep.
    pub(super) fn with<Q, R>(&self, key: &Q, own: impl FnOnce() -> K, count: impl FnOnce(&Arc<T>) -> R) -> R
    where
        Q: Equivalent<K> + Hash,
    {
        if let Some(one) = self.all.read().of.get(key) {
            // Written once, and then only read: all threads come by here.
            if !one.is_used.load(Relaxed) {
                one.is_used.store(true, Relaxed);
            }
            return count(&one.series);
        }
        let mut all = self.all.write();
        if all.of.len() >= self.most && !all.make_room(self.most, Instant::now()) {
            return count(all.other.get_or_insert_default());
        }
        let one = all.of.entry(own()).or_insert_with(|| One { series: Arc::default(), is_used: AtomicBool::new(true) });
        count(&one.series)
    }

    /// The series of a key, if it has some of its own.
    pub(super) fn find<Q: Equivalent<K> + Hash>(&self, key: &Q) -> Option<Arc<T>> {
        self.all.read().of.get(key).map(|one| one.series.clone())
    }

    /// Reads all of them; `None` is the key of those beyond the bound.
    pub(super) fn each(&self, mut read: impl FnMut(Option<&K>, &Arc<T>)) {
        let all = self.all.read();
        all.of.iter().for_each(|(key, one)| read(Some(key), &one.series));
        if let Some(other) = &all.other {
            read(None, other);
        }
    }

    /// Lets the next one that finds no room look for it at once.
    #[cfg(test)]
    pub(super) fn allow_sweep(&self) {
        self.all.write().swept = Instant::now().checked_sub(IDLE);
    }
}

impl<K: Eq + Hash, T> All<K, T> {
    /// Lets go of series that nobody used since this was last called; whether there were any.
    fn make_room(&mut self, most: usize, now: Instant) -> bool {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < IDLE) {
            return false;
        }
        self.swept = Some(now);
        self.of.retain(|_, one| std::mem::take(one.is_used.get_mut()));
        self.of.len() < most
    }
}
