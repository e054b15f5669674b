//! Order of writes: one write an object at a time, a bounded number of objects at once, by the leader alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kube::Client;
use pailou_api::ObjectKey;
use pailou_compile::status::{Statuses, differ_by_counts};
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::write::{Write, WriteOutcome};
use crate::{
    backoff::Backoff,
    cluster_state::CompiledState,
    events::Events,
    leader::Leadership,
    metrics::Metrics,
    source::{classes::Held, status_cache::StatusCache},
};

/// Objects that are written at the same time.
const CONCURRENCY: usize = 16;
/// Concurrent writes of objects of which only the count of attached routes is new. Many new routes change that count as often:
/// the API server's time is better spent on the routes, and a count may be outdated by its turn.
const COUNTS: usize = 1;
/// Time between two writes of one object: routes that attach one by one are not each counted in a write of their own.
const INTERVAL: Duration = Duration::from_millis(200);
/// The delays before an object is tried again.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LAST_DELAY: Duration = Duration::from_secs(15);

/// The writer.
pub(crate) struct Writer {
    write: Write,
    leadership: Leadership,
}

impl Writer {
    /// A writer that has written nothing yet.
    pub(crate) fn new(
        client: Client,
        published: watch::Receiver<Option<CompiledState>>,
        status_cache: Arc<StatusCache>,
        leadership: Leadership,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { write: Write { client, published, status_cache, events, metrics }, leadership }
    }

    /// Writes while this replica leads. When it does not any more, what is on its way is broken off.
    pub(crate) async fn run(mut self) {
        loop {
            self.leadership.gained().await;
            tokio::select! {
                biased;
                () = self.leadership.lost() => {}
                () = Leading::new(self.write.clone()).run() => return,
            }
        }
    }
}

/// Extent of an object's news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    /// How many routes are attached, and nothing else.
    Count,
    /// Anything.
    Any,
}

/// The time of one leadership.
struct Leading {
    write: Write,
    published: watch::Receiver<Option<CompiledState>>,
    /// The statuses and holders of the last compilation.
    seen: Option<(Arc<Statuses>, Arc<Held>)>,
    /// Objects to bring up to date; none of them is busy.
    waiting: BTreeSet<ObjectKey>,
    /// Objects of which no more is new than a count; none of them is busy, or waits for anything else.
    counted: BTreeSet<ObjectKey>,
    /// Those of them that are being written.
    counting: HashSet<ObjectKey>,
    /// The last one of them: the next comes after it, so that each has its turn.
    counted_last: Option<ObjectKey>,
    /// Objects that are being written, or were just now; and whether to look at them again, and for what.
    busy: HashMap<ObjectKey, Option<News>>,
    writing: FuturesUnordered<BoxFuture<'static, (ObjectKey, WriteOutcome)>>,
    failures: HashMap<ObjectKey, Backoff>,
    /// When objects cease to be busy.
    later: BTreeMap<Instant, Vec<ObjectKey>>,
}

impl Leading {
    fn new(write: Write) -> Self {
        let mut published = write.published.clone();
        // A new leader looks at everything.
        published.mark_changed();
        Self {
            write,
            published,
            seen: None,
            waiting: BTreeSet::new(),
            counted: BTreeSet::new(),
            counting: HashSet::new(),
            counted_last: None,
            busy: HashMap::new(),
            writing: FuturesUnordered::new(),
            failures: HashMap::new(),
            later: BTreeMap::new(),
        }
    }

    async fn run(mut self) {
        loop {
            let next = self.later.keys().next().copied();
            tokio::select! {
                changed = self.published.changed() => match changed {
                    Ok(()) => self.compiled(),
                    Err(_) => return,
                },
                touched = self.write.status_cache.touched() => touched.into_iter().for_each(|key| self.look_at(key, News::Any)),
                Some((key, outcome)) = self.writing.next() => self.done(key, outcome),
                () = time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let (_, keys) = self.later.pop_first().unwrap_or((Instant::now(), Vec::new()));
                    keys.into_iter().for_each(|key| self.free(key));
                }
            }
            self.begin();
        }
    }

    /// Queues the objects whose compiled status has changed.
    fn compiled(&mut self) {
        let Some(published) = self.published.borrow_and_update().clone() else { return };
        let now = (published.compiled.statuses.clone(), published.cluster.held.clone());
        let before = self.seen.take().filter(|(_, held)| *held == now.1).map(|(statuses, _)| statuses);
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &now.0)) {
            let before = before.unwrap_or_default();
            for changed in now.0.changed_since(&before) {
                let is_count = changed.before.is_some_and(|before| differ_by_counts(before, changed.now));
                self.look_at(ObjectKey::clone(changed.key), if is_count { News::Count } else { News::Any });
            }
        }
        self.seen = Some(now);
    }

    fn look_at(&mut self, key: ObjectKey, news: News) {
        match self.busy.get_mut(&key) {
            Some(again) => *again = (*again).max(Some(news)),
            None if news == News::Any => {
                self.counted.remove(&key);
                self.waiting.insert(key);
            }
            None if self.waiting.contains(&key) => {}
            None => drop(self.counted.insert(key)),
        }
    }

    fn begin(&mut self) {
        while self.writing.len() < CONCURRENCY
            && let Some(key) = self.waiting.pop_first()
        {
            self.write(key);
        }
        while self.writing.len() < CONCURRENCY
            && self.counting.len() < COUNTS
            && let Some(key) = self.next_counted()
        {
            self.counting.insert(key.clone());
            self.write(key);
        }
    }

    fn next_counted(&mut self) -> Option<ObjectKey> {
        let after = self.counted_last.as_ref().and_then(|last| self.counted.range(last..).next());
        let key = after.or_else(|| self.counted.first())?.clone();
        self.counted.remove(&key);
        self.counted_last = Some(key.clone());
        Some(key)
    }

    fn write(&mut self, key: ObjectKey) {
        self.busy.insert(key.clone(), None);
        let write = self.write.clone();
        self.writing.push(Box::pin(async move {
            let outcome = write.settle(&key).await;
            (key, outcome)
        }));
    }

    fn done(&mut self, key: ObjectKey, outcome: WriteOutcome) {
        self.counting.remove(&key);
        let delay = match outcome {
            WriteOutcome::Settled | WriteOutcome::Refused => None,
            WriteOutcome::Written => Some(INTERVAL),
            WriteOutcome::Later => {
                self.busy.insert(key.clone(), Some(News::Any));
                let backoff = self.failures.entry(key.clone()).or_insert(Backoff::new(FIRST_DELAY, LAST_DELAY));
                Some(backoff.failed())
            }
        };
        if outcome != WriteOutcome::Later {
            self.failures.remove(&key);
        }
        match delay {
            Some(delay) => self.later.entry(Instant::now() + delay).or_default().push(key),
            None => self.free(key),
        }
    }

    fn free(&mut self, key: ObjectKey) {
        if let Some(news) = self.busy.remove(&key).flatten() {
            self.look_at(key, news);
        }
    }
}
