//! Tracers of a process: the one of its environment, and those that Gateways name.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use pailou_snapshot::Tracing;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::watch, time};

use crate::tracer::{DropReason, TraceStats, Tracer};

/// Tracers, and the tasks that send their spans.
#[derive(Default)]
pub struct Tracers {
    /// The environment's, for all Gateways without one of their own.
    of_environment: OnceLock<Arc<Tracer>>,
    /// Ends of the tasks.
    running: Mutex<Vec<Running>>,
    stats: Arc<TraceStats>,
}

struct Running {
    tracer: Arc<Tracer>,
    ended: watch::Receiver<()>,
}

impl Tracers {
    /// Starts the environment's tracer; `spawn` starts the task of a tracer on the runtime.
    pub(crate) fn start(&self, settings: Tracing, tasks: &Handle, spawn: impl Fn(&Handle, Arc<Tracer>) -> watch::Receiver<()>) {
        let tracer = Arc::new(Tracer::new(Arc::new(settings), Arc::clone(&self.stats)));
        let ended = spawn(tasks, Arc::clone(&tracer));
        self.running.lock().push(Running { tracer: Arc::clone(&tracer), ended });
        // There is none before: this is called once.
        let _ = self.of_environment.set(tracer);
    }

    /// The tracer of requests; `None` while there are no traces.
    pub(crate) fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.of_environment.get()
    }

    /// Whether there is a tracer at all.
    pub(crate) fn is_on(&self) -> bool {
        self.of_environment.get().is_some()
    }

    /// Numbers of all tracers.
    pub(crate) fn stats(&self) -> &TraceStats {
        &self.stats
    }

    /// Sends what waits, within a time; what is left then is dropped.
    pub(crate) async fn finish(&self, within: Duration) {
        let running = std::mem::take(&mut *self.running.lock());
        running.iter().for_each(|it| it.tracer.buffer.close());
        let all = async {
            for running in &running {
                // An error is the task's end.
                while running.ended.clone().changed().await.is_ok() {}
            }
        };
        if time::timeout(within, all).await.is_err() {
            let left: u64 = running.iter().map(|it| it.tracer.buffer.len()).sum();
            self.stats.dropped(DropReason::Shutdown, left);
            tracing::warn!(waiting = left, "the gateway ends before the collector has all spans");
        }
    }
}
