//! Tracers of a process: the one of its environment, and those that Gateways name.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use pailou_snapshot::{ListenerRef, Snapshot, Tracing};
use parking_lot::Mutex;
use tokio::{sync::watch, time};

use crate::tracer::{DropReason, TraceStats, Tracer};

/// Tracers, and the tasks that send their spans.
#[derive(Default)]
pub struct Tracers {
    /// The environment's, for all Gateways without one of their own.
    of_environment: OnceLock<Arc<Tracer>>,
    /// Those of Gateways, by the settings of the snapshot in force. There are few.
    of_gateways: ArcSwap<Vec<(Arc<Tracing>, Arc<Tracer>)>>,
    /// Ends of the tasks.
    running: Mutex<Vec<Running>>,
    stats: Arc<TraceStats>,
}

struct Running {
    tracer: Arc<Tracer>,
    ended: watch::Receiver<()>,
}

impl Tracers {
    /// Starts the environment's tracer; `start` starts the task of a tracer.
    pub(crate) fn start(&self, settings: Tracing, start: impl Fn(Arc<Tracer>) -> watch::Receiver<()>) {
        let tracer = self.run(Arc::new(settings), &start);
        // There is none before: this is called once.
        let _ = self.of_environment.set(tracer);
    }

    /// Takes over the settings of a snapshot. A tracer goes on whose settings stay the same; one that nothing names any more sends what waits,
    /// and ends.
    pub(crate) fn follow(&self, snapshot: &Snapshot, start: impl Fn(Arc<Tracer>) -> watch::Receiver<()>) {
        let before = self.of_gateways.load_full();
        let mut now: Vec<(Arc<Tracing>, Arc<Tracer>)> = Vec::new();
        for listener in snapshot.ports.iter().flat_map(|port| port.listeners()) {
            let ListenerRef::Http(listener) = listener else { continue };
            let Some(settings) = &listener.tracing else { continue };
            if now.iter().any(|(known, _)| Arc::ptr_eq(known, settings)) {
                continue;
            }
            let same = now.iter().chain(before.iter()).find(|(known, _)| known == settings).map(|(_, tracer)| Arc::clone(tracer));
            let tracer = same.unwrap_or_else(|| self.run(Arc::clone(settings), &start));
            now.push((Arc::clone(settings), tracer));
        }
        if now.is_empty() && before.is_empty() {
            return;
        }
        let is_kept = |tracer: &Arc<Tracer>| now.iter().any(|(_, kept)| Arc::ptr_eq(kept, tracer));
        before.iter().filter(|(_, tracer)| !is_kept(tracer)).for_each(|(_, tracer)| tracer.buffer.close());
        self.running.lock().retain(|running| running.ended.has_changed().is_ok());
        self.of_gateways.store(Arc::new(now));
    }

    fn run(&self, settings: Arc<Tracing>, start: impl Fn(Arc<Tracer>) -> watch::Receiver<()>) -> Arc<Tracer> {
        let tracer = Arc::new(Tracer::new(settings, Arc::clone(&self.stats)));
        let ended = start(Arc::clone(&tracer));
        self.running.lock().push(Running { tracer: Arc::clone(&tracer), ended });
        tracer
    }

    /// The tracer of requests to a listener with these settings; `None` while there are no traces.
    pub(crate) fn tracer(&self, settings: Option<&Arc<Tracing>>) -> Option<Arc<Tracer>> {
        let Some(settings) = settings else { return self.of_environment.get().cloned() };
        let all = self.of_gateways.load();
        all.iter().find(|(known, _)| Arc::ptr_eq(known, settings)).map(|(_, tracer)| Arc::clone(tracer))
    }

    /// Whether there is a tracer at all.
    pub(crate) fn is_on(&self) -> bool {
        self.of_environment.get().is_some() || !self.of_gateways.load().is_empty()
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
