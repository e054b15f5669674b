//! The controller's metrics. Labels are kinds and results, and so few.

use std::time::Duration;

use pailou_api::Kind;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The controller's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    compilations: Histogram,
    objects: Gauge,
    undecodable: Family<KindLabel, Counter>,
    watch_failures: Family<KindLabel, Counter>,
    status_writes: Family<ResultLabel, Counter>,
    events: Family<ResultLabel, Counter>,
    leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// Result of a write of a status.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WriteResult {
    Done,
    /// Someone else had written in between.
    Conflict,
    /// The API server does not take it.
    Refused,
    Failed,
}

impl WriteResult {
    const ALL: [Self; 4] = [Self::Done, Self::Conflict, Self::Refused, Self::Failed];

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Result of publishing an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EventOutcome {
    Done,
    Failed,
    /// There were too many.
    LeftOut,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            compilations: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            objects: Gauge::default(),
            undecodable: Family::default(),
            watch_failures: Family::default(),
            status_writes: Family::default(),
            events: Family::default(),
            leader: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let compilations = self.compilations.clone();
        registry.register("pailou_controller_compile_duration_seconds", "How long it took to compile all objects", compilations);
        registry.register("pailou_controller_objects", "Objects that were compiled last", self.objects.clone());
        let help = "Objects that could not be read, each time they came";
        registry.register("pailou_controller_undecodable_objects", help, self.undecodable.clone());
        let help = "Failures of watches, by kind; each is tried again";
        registry.register("pailou_controller_watch_failures", help, self.watch_failures.clone());
        registry.register("pailou_controller_status_writes", "Writes of statuses by result", self.status_writes.clone());
        registry.register("pailou_controller_events", "Events by what became of them", self.events.clone());
        registry.register("pailou_controller_leader", "1 while this replica leads, else 0", self.leader.clone());
    }

    /// Every metric in OpenMetrics' text format.
    pub fn encode(&self, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = encode(text, &self.registry);
    }

    /// Whether this replica leads.
    pub fn is_leader(&self) -> bool {
        self.leader.get() != 0
    }

    /// Objects that were compiled last.
    pub fn objects(&self) -> u64 {
        self.objects.get().try_into().unwrap_or(0)
    }

    /// Writes of statuses since the start by result, of results that there were.
    pub fn status_writes(&self) -> Vec<(&'static str, u64)> {
        let count = |result| self.status_writes.get(&ResultLabel { result }).map_or(0, |counter| counter.get());
        WriteResult::ALL.map(|result| (result.name(), count(result.name()))).into_iter().filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn compiled(&self, took: Duration, objects: usize) {
        self.compilations.observe(took.as_secs_f64());
        self.objects.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    pub(crate) fn undecodable(&self, kind: Kind) {
        self.undecodable.get_or_create(&KindLabel { kind: kind.name() }).inc();
    }

    pub(crate) fn watch_failed(&self, kind: Kind) {
        self.watch_failures.get_or_create(&KindLabel { kind: kind.name() }).inc();
    }

    pub(crate) fn count_write(&self, what: WriteResult) {
        self.status_writes.get_or_create(&ResultLabel { result: what.name() }).inc();
    }

    pub(crate) fn count_event(&self, what: EventOutcome) {
        let result = match what {
            EventOutcome::Done => "done",
            EventOutcome::Failed => "failed",
            EventOutcome::LeftOut => "left_out",
        };
        self.events.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }
}
