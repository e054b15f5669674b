//! Which objects are written, and when: one write an object at a time, a bounded number of objects at once, by the leader alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
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
/// The delays before an object is tried again.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LAST_DELAY: Duration = Duration::from_secs(60);

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
    waiting: BTreeSet<ObjectKey>,
    writing: FuturesUnordered<BoxFuture<'static, (ObjectKey, Outcome)>>,
    in_flight: HashSet<ObjectKey>,
    failures: HashMap<ObjectKey, Backoff>,
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
            writing: FuturesUnordered::new(),
            in_flight: HashSet::new(),
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
                touched = self.write.live.touched() => self.waiting.extend(touched),
                Some((key, outcome)) = self.writing.next() => self.done(key, outcome),
                () = time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    if let Some((_, keys)) = self.later.pop_first() {
                        self.waiting.extend(keys);
                    }
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
            let differs = |key: &ObjectKey, status| before.as_ref().and_then(|before| before.get(key)) != Some(status);
            self.waiting.extend(now.0.iter().filter(|(key, status)| differs(key, status)).map(|(key, _)| key.clone()));
        }
        self.seen = Some(now);
    }

    fn begin(&mut self) {
        while self.in_flight.len() < CONCURRENCY {
            let Some(key) = self.waiting.iter().find(|key| !self.in_flight.contains(*key)).cloned() else { return };
            self.waiting.remove(&key);
            self.in_flight.insert(key.clone());
            let write = self.write.clone();
            self.writing.push(Box::pin(async move {
                let outcome = write.settle(&key).await;
                (key, outcome)
            }));
        }
    }

    fn done(&mut self, key: ObjectKey, outcome: Outcome) {
        self.in_flight.remove(&key);
        match outcome {
            Outcome::Settled | Outcome::Refused => drop(self.failures.remove(&key)),
            Outcome::Later => {
                let backoff = self.failures.entry(key.clone()).or_insert(Backoff::new(FIRST_DELAY, LAST_DELAY));
                self.later.entry(Instant::now() + backoff.failed()).or_default().push(key);
            }
        }
    }
}
