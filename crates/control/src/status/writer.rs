//! Which objects are written, and when: one write an object at a time, a bounded number of objects at once, by the leader alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kube::Client;
use pailou_config::{resources::ObjectKey, status::Statuses};
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::write::{Outcome, Write};
use crate::{
    backoff::Backoff,
    events::Events,
    leader::Leadership,
    metrics::Metrics,
    published::Published,
    source::{classes::Held, live::LiveTable},
};

/// Objects that are written at the same time.
const CONCURRENCY: usize = 16;
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
        published: watch::Receiver<Option<Published>>,
        live: Arc<LiveTable>,
        leadership: Leadership,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { write: Write { client, published, live, events, metrics }, leadership }
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

/// The time of one leadership.
struct Leading {
    write: Write,
    published: watch::Receiver<Option<Published>>,
    /// What was looked at last.
    seen: Option<(Arc<Statuses>, Arc<Held>)>,
    /// Objects to be looked at; none of them is busy.
    waiting: BTreeSet<ObjectKey>,
    /// Objects that are being written, or were just now; and whether to look at them again.
    busy: HashMap<ObjectKey, bool>,
    writing: FuturesUnordered<BoxFuture<'static, (ObjectKey, Outcome)>>,
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
                touched = self.write.live.touched() => touched.into_iter().for_each(|key| self.look_at(key)),
                Some((key, outcome)) = self.writing.next() => self.done(key, outcome),
                () = time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let (_, keys) = self.later.pop_first().unwrap_or((Instant::now(), Vec::new()));
                    keys.into_iter().for_each(|key| self.free(key));
                }
            }
            self.begin();
        }
    }

    /// Takes up the objects of which something else is said than before.
    fn compiled(&mut self) {
        let Some(published) = self.published.borrow_and_update().clone() else { return };
        let now = (published.compiled.statuses.clone(), published.held.clone());
        let before = self.seen.take().filter(|(_, held)| *held == now.1).map(|(statuses, _)| statuses);
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &now.0)) {
            let before = before.unwrap_or_default();
            now.0.changed_since(&before).for_each(|key| self.look_at(key.clone()));
        }
        self.seen = Some(now);
    }

    fn look_at(&mut self, key: ObjectKey) {
        match self.busy.get_mut(&key) {
            Some(again) => *again = true,
            None => drop(self.waiting.insert(key)),
        }
    }

    fn begin(&mut self) {
        while self.writing.len() < CONCURRENCY
            && let Some(key) = self.waiting.pop_first()
        {
            self.busy.insert(key.clone(), false);
            let write = self.write.clone();
            self.writing.push(Box::pin(async move {
                let outcome = write.settle(&key).await;
                (key, outcome)
            }));
        }
    }

    fn done(&mut self, key: ObjectKey, outcome: Outcome) {
        let delay = match outcome {
            Outcome::Settled | Outcome::Refused => None,
            Outcome::Written => Some(INTERVAL),
            Outcome::Later => {
                self.busy.insert(key.clone(), true);
                let backoff = self.failures.entry(key.clone()).or_insert(Backoff::new(FIRST_DELAY, LAST_DELAY));
                Some(backoff.failed())
            }
        };
        if outcome != Outcome::Later {
            self.failures.remove(&key);
        }
        match delay {
            Some(delay) => self.later.entry(Instant::now() + delay).or_default().push(key),
            None => self.free(key),
        }
    }

    fn free(&mut self, key: ObjectKey) {
        if self.busy.remove(&key) == Some(true) {
            self.waiting.insert(key);
        }
    }
}
