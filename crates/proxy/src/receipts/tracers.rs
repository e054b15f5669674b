//! Operators who wait for the receipt of the next request that meets a condition.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use pailou_auth::Condition;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::stored_receipt::StoredReceipt;

/// Operators who wait at the same time: each costs a look at every request.
pub const MAX_TRACERS: usize = 4;

/// All who wait.
#[derive(Default)]
pub(crate) struct Tracers {
    /// Whether anyone waits: all that requests look at while nobody does.
    is_any: AtomicBool,
    next: AtomicU64,
    waiting: Mutex<Vec<Tracer>>,
}

struct Tracer {
    id: u64,
    condition: Arc<Condition>,
    send: oneshot::Sender<Arc<StoredReceipt>>,
}

/// A wait for a receipt. It ends when dropped.
pub struct Trace {
    tracers: Arc<Tracers>,
    id: u64,
    receive: oneshot::Receiver<Arc<StoredReceipt>>,
}

impl Tracers {
    /// Begins to wait; `None` where [`MAX_TRACERS`] do already.
    pub(super) fn begin(self: &Arc<Self>, condition: Condition) -> Option<Trace> {
        let (send, receive) = oneshot::channel();
        let id = self.next.fetch_add(1, Relaxed);
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_TRACERS {
            return None;
        }
        waiting.push(Tracer { id, condition: Arc::new(condition), send });
        self.is_any.store(true, Relaxed);
        drop(waiting);
        Some(Trace { tracers: Arc::clone(self), id, receive })
    }

    /// Whether anyone waits.
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Relaxed)
    }

    /// The first who waits for a request like this, who waits for no other from now on.
    pub(super) fn take(&self, holds: impl Fn(&Condition) -> bool) -> Option<oneshot::Sender<Arc<StoredReceipt>>> {
        let conditions: Vec<_> = self.waiting.lock().iter().map(|it| (it.id, Arc::clone(&it.condition))).collect();
        // Not under the lock: a condition may take a while.
        let (id, _) = conditions.into_iter().find(|(_, condition)| holds(condition))?;
        self.remove(id)
    }

    fn remove(&self, id: u64) -> Option<oneshot::Sender<Arc<StoredReceipt>>> {
        let mut waiting = self.waiting.lock();
        let place = waiting.iter().position(|it| it.id == id)?;
        let tracer = waiting.swap_remove(place);
        self.is_any.store(!waiting.is_empty(), Relaxed);
        Some(tracer.send)
    }
}

impl Trace {
    /// The receipt, once the request has ended.
    pub async fn receipt(mut self) -> Option<Arc<StoredReceipt>> {
        (&mut self.receive).await.ok()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.tracers.remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition() -> Condition {
        Condition::parse("request.method == 'GET'").unwrap()
    }

    #[test]
    fn few_wait_each_for_one_request() {
        let tracers = Arc::new(Tracers::default());
        let mut traces: Vec<_> = (0..MAX_TRACERS).map(|_| tracers.begin(condition()).unwrap()).collect();
        assert!(tracers.begin(condition()).is_none() && tracers.is_any());
        assert!(tracers.take(|_| false).is_none());
        drop(traces.pop());
        assert_eq!((0..MAX_TRACERS).filter(|_| tracers.take(|_| true).is_some()).count(), MAX_TRACERS - 1);
        assert!(!tracers.is_any());
    }
}
