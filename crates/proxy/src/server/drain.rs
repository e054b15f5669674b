//! Open connections, and word to them that it is time to go.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{Notify, watch};

/// How far a connection's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Not near.
    Serving,
    /// Requests in progress finish; nothing new begins.
    Draining,
    /// At once.
    Cut,
}

/// All connections of a server.
pub(super) struct Drain {
    phase: watch::Sender<Phase>,
    open: Arc<Open>,
}

#[derive(Default)]
struct Open {
    count: AtomicUsize,
    ended: Notify,
}

/// A connection's mark that it is open; dropped with its socket.
pub(super) struct Mark(Arc<Open>);

impl Default for Drain {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving), open: Arc::default() }
    }
}

impl Drain {
    /// Tells all connections.
    pub(super) fn set(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Hears what connections are told.
    pub(super) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open.count.load(Ordering::Acquire)
    }

    /// Shares the count, for marks.
    pub(super) fn counter(&self) -> Counter {
        Counter(Arc::clone(&self.open))
    }

    /// Waits until none is open.
    pub(super) async fn wait(&self) {
        loop {
            let ended = self.open.ended.notified();
            tokio::pin!(ended);
            // Registered before counting, so that the last one is not missed.
            ended.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Makes marks.
#[derive(Clone)]
pub(super) struct Counter(Arc<Open>);

impl Counter {
    pub(super) fn mark(&self) -> Mark {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        Mark(Arc::clone(&self.0))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_waiters();
    }
}
