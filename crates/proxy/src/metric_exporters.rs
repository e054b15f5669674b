//! Tasks that give collectors the process's metrics on a timer: the same that Prometheus gets.

use std::{
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pailou_snapshot::{Batching, MetricSink};
use pailou_telemetry::{export::Signal, metric_export::MetricExport};
use parking_lot::Mutex;
use prometheus_client::{encoding::text, registry::Registry};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval_at},
};

use crate::{
    envelope::Envelope,
    export_queue::{ExportQueue, ExportStats, OpenQueue},
    running_queues::RunningQueues,
};

/// Messages of one request, of at most 500 points each: together within the 4 MiB that servers of gRPC take.
const MAX_BATCH: usize = 8;
/// Wait of a message for others of the same export.
const SCHEDULE_DELAY: Duration = Duration::from_millis(20);

/// Tasks of a process.
#[derive(Default)]
pub struct MetricExporters {
    /// The environment's first, then those of the snapshot in force.
    tasks: Mutex<Vec<ExportTask>>,
    queues: RunningQueues,
    stats: Arc<ExportStats>,
}

struct ExportTask {
    settings: Arc<MetricSink>,
    is_of_environment: bool,
    /// The task ends when it is dropped.
    stop: watch::Sender<()>,
    ended: JoinHandle<()>,
}

impl MetricExporters {
    /// Starts the task of a collector that the environment names; `start` starts the task of a queue.
    pub(crate) fn start(
        &self,
        settings: MetricSink,
        registry: &Arc<Registry>,
        tasks: &Handle,
        start: impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>,
    ) {
        let task = self.run(Arc::new(settings), true, registry, (tasks, &start));
        self.tasks.lock().push(task);
    }

    /// Starts tasks for the collectors of a snapshot, and ends those of others. One goes on whose settings stay the same.
    pub(crate) fn follow(
        &self,
        sinks: &[Arc<MetricSink>],
        registry: &Arc<Registry>,
        tasks: &Handle,
        start: impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>,
    ) {
        let mut all = self.tasks.lock();
        all.retain(|task| task.is_of_environment || sinks.contains(&task.settings));
        for sink in sinks {
            if all.iter().all(|task| task.is_of_environment || task.settings != *sink) {
                all.push(self.run(Arc::clone(sink), false, registry, (tasks, &start)));
            }
        }
        self.queues.forget_ended();
    }

    fn run(
        &self,
        settings: Arc<MetricSink>,
        is_of_environment: bool,
        registry: &Arc<Registry>,
        (tasks, start): (&Handle, &impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>),
    ) -> ExportTask {
        let batching = Batching {
            schedule_delay: SCHEDULE_DELAY,
            max_batch_size: MAX_BATCH,
            export_timeout: settings.timeout,
            ..Batching::default()
        };
        let envelope = Envelope::Otlp(Signal::Metrics, settings.resource.clone());
        let queue = ExportQueue::new(settings.collector.clone(), envelope, batching, Arc::clone(&self.stats));
        let (stop, stopped) = watch::channel(());
        let exporting = Exporting {
            queue: self.queues.run(queue, start),
            export: MetricExport::new(settings.temporality, now()),
            registry: Arc::downgrade(registry),
        };
        let ended = tasks.spawn(exporting.run(settings.interval, stopped));
        ExportTask { settings, is_of_environment, stop, ended }
    }

    /// Whether there are any.
    pub(crate) fn is_on(&self) -> bool {
        !self.tasks.lock().is_empty()
    }

    /// Numbers of messages.
    pub(crate) fn stats(&self) -> &ExportStats {
        &self.stats
    }

    /// Sends the last metrics, within a time.
    pub(crate) async fn finish(&self, within: Duration) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let ended: Vec<_> = tasks.into_iter().map(|ExportTask { stop, ended, .. }| (drop(stop), ended).1).collect();
        let all = async {
            for task in ended {
                // An error is the runtime's end.
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(within, all).await;
        self.queues.finish(within).await;
    }
}

struct Exporting {
    queue: OpenQueue,
    export: MetricExport,
    registry: Weak<Registry>,
}

impl Exporting {
    /// Exports on a timer, and a last time when it is stopped.
    async fn run(mut self, interval: Duration, mut stopped: watch::Receiver<()>) {
        let mut ticks = interval_at(tokio::time::Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                // An error is its end.
                _ = stopped.changed() => true,
            };
            // On a thread that serves nobody: thousands of series take a while.
            let exported = tokio::task::spawn_blocking(move || {
                let is_there = self.export();
                (self, is_there)
            });
            let Ok((exporting, true)) = exported.await else { return };
            self = exporting;
            if is_last {
                return;
            }
        }
    }

    /// Puts all metrics in the queue; `false` where the process has ended.
    fn export(&mut self) -> bool {
        let Some(registry) = self.registry.upgrade() else { return false };
        let mut shown = String::new();
        // Writing to a string does not fail.
        if text::encode(&mut shown, &registry).is_ok() {
            let queue = &self.queue;
            self.export.export(&shown, now(), |message| queue.append(1, |out| out.extend_from_slice(message)));
        }
        true
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
