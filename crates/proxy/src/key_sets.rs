//! Key sets that the gateway fetches, and the providers that some are of: state by document, which outlives a reload. One task fetches each for all workers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use foldhash::HashMap;
use pailou_auth::{DocumentId, JwkSet, Keys, Provider};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// Interval between fetches for tokens that name an unknown key.
const MISSING_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// Longest wait of a request for a fetch that is under way.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// All key sets of the configuration.
#[derive(Default)]
pub struct KeySets(ArcSwap<HashMap<DocumentId, Arc<KeySet>>>);

/// Keys that a fetch brought, and the provider that they are of.
pub(crate) struct FetchedKeys {
    /// The keys.
    pub(crate) keys: Arc<JwkSet>,
    /// The provider of OpenID Connect that they are of.
    pub(crate) provider: Option<Arc<Provider>>,
}

/// One key set.
pub(crate) struct KeySet {
    fetched: ArcSwapOption<FetchedKeys>,
    /// Why the last fetch failed.
    failure: Mutex<Option<Arc<str>>>,
    /// Fetches that have ended.
    ended: watch::Sender<u64>,
    /// Asks for a fetch now.
    wanted: Notify,
    /// Last fetch for an unknown key.
    missing: Mutex<Option<Missing>>,
}

/// A fetch for an unknown key.
#[derive(Clone, Copy)]
struct Missing {
    at: Instant,
    /// Fetches that had ended when it was asked for.
    ended: u64,
}

impl KeySets {
    /// The set of a document, if the configuration has it.
    pub(crate) fn find(&self, id: DocumentId) -> Option<Arc<KeySet>> {
        self.0.load().get(&id).cloned()
    }

    /// Keys of a document, as they are known.
    pub(crate) fn keys(&self, id: DocumentId) -> Keys {
        match self.0.load().get(&id).and_then(|set| set.fetched.load().as_ref().map(|fetched| fetched.keys.clone())) {
            Some(keys) => Keys::Known(keys),
            None => Keys::Unavailable,
        }
    }

    /// Takes over the documents of a new configuration. Sets that stay are kept; `start` begins the others.
    pub(crate) fn update(&self, ids: impl Iterator<Item = DocumentId>, mut start: impl FnMut(DocumentId) -> Arc<KeySet>) {
        let known = self.0.load();
        let sets = ids.map(|id| (id, known.get(&id).cloned().unwrap_or_else(|| start(id)))).collect();
        self.0.store(Arc::new(sets));
    }
}

impl Default for KeySet {
    fn default() -> Self {
        let ended = watch::Sender::new(0);
        Self { fetched: ArcSwapOption::empty(), failure: Mutex::default(), ended, wanted: Notify::new(), missing: Mutex::default() }
    }
}

impl KeySet {
    /// Puts fetched keys in force; a reason if the fetch failed, which leaves the older ones.
    pub(crate) fn put(&self, fetched: Result<FetchedKeys, Arc<str>>) {
        let failure = match fetched {
            Ok(fetched) => {
                self.fetched.store(Some(Arc::new(fetched)));
                None
            }
            Err(failure) => Some(failure),
        };
        *self.failure.lock() = failure;
        self.ended.send_modify(|ended| *ended += 1);
    }

    /// The last keys that were fetched.
    pub(crate) fn fetched(&self) -> Option<Arc<FetchedKeys>> {
        self.fetched.load_full()
    }

    /// Why the last fetch failed.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.failure.lock().clone()
    }

    /// Whether there are keys.
    pub(crate) fn has_keys(&self) -> bool {
        self.fetched.load().is_some()
    }

    /// Waits until somebody wants a fetch.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Waits for the first fetch. Gives back whether there may be keys that were not there before.
    pub(crate) async fn begun(&self) -> bool {
        if *self.ended.borrow() > 0 {
            return self.has_keys();
        }
        self.wait_beyond(0).await;
        self.has_keys()
    }

    /// Fetches the keys for a token that names an unknown one, at most once in 10 s; requests of that time share the fetch. Gives back whether
    /// there may be keys that were not there before.
    pub(crate) async fn renewed(&self) -> bool {
        let ended = *self.ended.borrow();
        let wait_for = {
            let mut missing = self.missing.lock();
            match *missing {
                Some(last) if last.at.elapsed() < MISSING_KEY_INTERVAL && ended > last.ended => return false,
                Some(last) if last.at.elapsed() < MISSING_KEY_INTERVAL => last.ended,
                _ => {
                    *missing = Some(Missing { at: Instant::now(), ended });
                    self.wanted.notify_one();
                    ended
                }
            }
        };
        self.wait_beyond(wait_for).await;
        true
    }

    async fn wait_beyond(&self, count: u64) {
        let mut ended = self.ended.subscribe();
        // Late is as good as a failed fetch.
        let _ = timeout(MAX_WAIT, ended.wait_for(|ended| *ended > count)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_with_an_unknown_key_share_one_fetch_and_later_ones_cause_none() {
        let set = Arc::new(KeySet::default());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                tokio::spawn({
                    let set = set.clone();
                    async move { set.renewed().await }
                })
            })
            .collect();
        set.wanted().await;
        set.put(Err("silent".into()));
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
        assert!(!set.renewed().await);
        // Nobody has asked for a second one.
        assert!(timeout(Duration::ZERO, set.wanted()).await.is_err());
    }
}
