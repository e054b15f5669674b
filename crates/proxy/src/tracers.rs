//! Tracers of a process: the one of its environment, and those that Gateways name.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use pailou_snapshot::{ListenerRef, ListenerTracing, Snapshot, Tracing};
use pailou_telemetry::export::Signal;
use tokio::sync::watch;

use crate::{
    envelope::Envelope,
    export_queue::{ExportQueue, ExportStats},
    running_queues::RunningQueues,
    tracer::Tracer,
};

/// Tracers, and the tasks that send their spans.
#[derive(Default)]
pub struct Tracers {
    /// The environment's, for all Gateways without one of their own.
    of_environment: OnceLock<Arc<Tracer>>,
    /// Those of Gateways, by the settings of the snapshot in force, and for a moment of the one before. There are few.
    of_gateways: ArcSwap<Vec<(Arc<Tracing>, Arc<Tracer>)>>,
    /// Ends of the tasks.
    running: RunningQueues,
    stats: Arc<ExportStats>,
}

impl Tracers {
    /// Starts the environment's tracer; `start` starts the task of a tracer.
    pub(crate) fn start(&self, settings: Tracing, start: impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>) {
        let tracer = self.run(Arc::new(settings), &start);
        // There is none before: this is called once.
        let _ = self.of_environment.set(tracer);
    }

    /// Starts the tracers of a snapshot before it is in force; those of the one before go on. A tracer goes on whose settings stay the same.
    pub(crate) fn follow(&self, snapshot: &Snapshot, start: impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>) {
        self.add(settings_of(snapshot), start);
    }

    /// Lets tracers go that the snapshot in force does not name: each ends after the requests that have it.
    pub(crate) fn retire_others(&self, snapshot: &Snapshot) {
        self.retain(&settings_of(snapshot));
    }

    fn add(&self, named: Vec<Arc<Tracing>>, start: impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>) {
        let before = self.of_gateways.load_full();
        let mut all = Vec::clone(&before);
        for settings in named {
            if all.iter().any(|(known, _)| Arc::ptr_eq(known, &settings)) {
                continue;
            }
            let same = all.iter().find(|(known, _)| *known == settings).map(|(_, tracer)| Arc::clone(tracer));
            let tracer = same.unwrap_or_else(|| self.run(Arc::clone(&settings), &start));
            all.push((settings, tracer));
        }
        if all.len() > before.len() {
            self.of_gateways.store(Arc::new(all));
        }
    }

    fn retain(&self, named: &[Arc<Tracing>]) {
        let all = self.of_gateways.load_full();
        let is_named = |settings: &Arc<Tracing>| named.iter().any(|named| Arc::ptr_eq(named, settings));
        let kept: Vec<_> = all.iter().filter(|(settings, _)| is_named(settings)).cloned().collect();
        if kept.len() < all.len() {
            self.of_gateways.store(Arc::new(kept));
        }
        self.running.forget_ended();
    }

    fn run(&self, settings: Arc<Tracing>, start: impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>) -> Arc<Tracer> {
        let envelope = Envelope::Otlp(Signal::Traces, settings.resource.clone());
        let queue = ExportQueue::new(settings.collector.clone(), envelope, settings.batching, Arc::clone(&self.stats));
        Arc::new(Tracer { settings, queue: self.running.run(queue, start) })
    }

    /// The tracer of requests to a listener; `None` while there are no traces.
    pub(crate) fn tracer(&self, tracing: &ListenerTracing) -> Option<Arc<Tracer>> {
        match tracing {
            ListenerTracing::Environment => self.of_environment.get().cloned(),
            ListenerTracing::Off => None,
            ListenerTracing::Own(settings) => {
                let all = self.of_gateways.load();
                all.iter().find(|(known, _)| Arc::ptr_eq(known, settings)).map(|(_, tracer)| Arc::clone(tracer))
            }
        }
    }

    /// Whether there is a tracer at all.
    pub(crate) fn is_on(&self) -> bool {
        self.of_environment.get().is_some() || !self.of_gateways.load().is_empty()
    }

    /// Numbers of all tracers.
    pub(crate) fn stats(&self) -> &ExportStats {
        &self.stats
    }

    /// Sends what waits, within a time; what is left then is dropped.
    pub(crate) async fn finish(&self, within: Duration) {
        self.running.finish(within).await;
    }
}

/// Settings of a snapshot's Gateways, each once.
fn settings_of(snapshot: &Snapshot) -> Vec<Arc<Tracing>> {
    let mut all: Vec<Arc<Tracing>> = Vec::new();
    for listener in snapshot.ports.iter().flat_map(|port| port.listeners()) {
        if let ListenerRef::Http(listener) = listener
            && let ListenerTracing::Own(settings) = &listener.tracing
            && all.iter().all(|known| !Arc::ptr_eq(known, settings))
        {
            all.push(Arc::clone(settings));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use pailou_snapshot::{Batching, Collector, CollectorTarget, OtlpProtocol};
    use pailou_telemetry::{export::Resource, propagators::Propagators, sampling::Sampler};

    use super::*;
    use crate::export_buffer::AppendOutcome;

    fn settings(service: &str) -> Arc<Tracing> {
        Arc::new(Tracing {
            sampler: Sampler::default(),
            propagators: Propagators::default(),
            resource: Resource::new([("service.name", service)], "pailou", "1"),
            collector: Collector {
                target: CollectorTarget::Backends(Vec::new()),
                protocol: OtlpProtocol::Grpc,
                headers: Vec::new(),
                timeout: Duration::from_secs(1),
                is_compressed: false,
            },
            batching: Batching::default(),
            custom: None,
        })
    }

    fn no_task(_: Arc<ExportQueue>) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    #[test]
    fn a_tracer_goes_on_for_requests_under_way() {
        let (tracers, old, new) = (Tracers::default(), settings("old"), settings("new"));
        let find = |settings: &Arc<Tracing>| tracers.tracer(&ListenerTracing::Own(Arc::clone(settings)));
        tracers.add(vec![Arc::clone(&old)], no_task);
        tracers.add(vec![Arc::clone(&new)], no_task);
        let of_request = find(&old).unwrap();
        assert!(find(&new).is_some(), "both are there while the snapshot changes");
        tracers.retain(&[Arc::clone(&new)]);
        assert!(find(&old).is_none() && find(&new).is_some());
        let queue = Arc::clone(&of_request.queue.0);
        assert_eq!(queue.buffer.append(1, |_| {}), AppendOutcome::Taken);
        drop(of_request);
        assert_eq!(queue.buffer.append(1, |_| {}), AppendOutcome::Closed);
    }

    #[test]
    fn equal_settings_of_another_snapshot_have_the_same_tracer() {
        let tracers = Tracers::default();
        let [one, other] = [settings("same"), settings("same")];
        tracers.add(vec![Arc::clone(&one)], no_task);
        let before = tracers.tracer(&ListenerTracing::Own(one)).unwrap();
        tracers.add(vec![Arc::clone(&other)], no_task);
        tracers.retain(&[Arc::clone(&other)]);
        assert!(Arc::ptr_eq(&before, &tracers.tracer(&ListenerTracing::Own(other)).unwrap()));
    }

    #[test]
    fn the_environments_tracer_is_not_for_gateways_that_name_another() {
        let tracers = Tracers::default();
        tracers.start((*settings("environment")).clone(), no_task);
        assert!(tracers.tracer(&ListenerTracing::Environment).is_some());
        assert!(tracers.tracer(&ListenerTracing::Off).is_none());
        assert!(tracers.tracer(&ListenerTracing::Own(settings("own"))).is_none());
    }
}
