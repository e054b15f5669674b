//! Counters of each rule's requests.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use pailou_snapshot::RouteName;
use pailou_telemetry::metric_table;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::{
    by_route::{ByRoute, Labelled, RouteLabels},
    durations::{Durations, sum},
    exemplars::{Example, Exemplars, Histogram, written},
    figures::{RequestTotals, RuleFigures},
};
use crate::request_record::RequestRecord;

/// Highest price of one response in the sum, in billionths of a US dollar.
const MAX_NANO_USD: u64 = 1_000_000_000_000_000;
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// A rule's series.
#[derive(Default)]
pub(super) struct Requests {
    by_class: [AtomicU64; CLASSES.len()],
    duration: Durations,
    /// Made for the first model call: most rules of a gateway with thousands see none.
    calls: OnceLock<Box<Calls>>,
}

/// Counters that only model calls have.
#[derive(Default)]
struct Calls {
    first_content: Durations,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    /// Thousand-millionths of a US dollar.
    nano_usd: AtomicU64,
}

impl Requests {
    /// Counts a request that has ended after `duration`.
    pub(super) fn settle(&self, record: &RequestRecord, duration: Duration) {
        let class = record.status.map_or(0, |status| usize::from(status.as_u16() / 100).min(5));
        self.by_class[class].fetch_add(1, Relaxed);
        self.duration.observe(duration);
        if let Some(after) = record.first_content() {
            self.calls().first_content.observe(after);
        }
        if let Some(usage) = &record.usage {
            self.calls().input_tokens.fetch_add(usage.input_tokens, Relaxed);
            self.calls().output_tokens.fetch_add(usage.output_tokens, Relaxed);
        }
        if let Some(nano_usd) = record.nano_usd {
            // A backend's figure may be anything: one response counts a million dollars at most, so that the sum does not wrap.
            self.calls().nano_usd.fetch_add(nano_usd.min(MAX_NANO_USD), Relaxed);
        }
    }

    /// A rule's requests, for a page.
    pub(super) fn figures(&self) -> RuleFigures {
        let by_class = |class: usize| self.by_class[class].load(Relaxed);
        let first = self.calls.get().map(|calls| sum([&calls.first_content].into_iter()));
        let (ttft_seconds, ttft_count) = first.map_or((0.0, 0), |first| (first.sum, first.count));
        let requests = (0..CLASSES.len()).map(by_class).sum();
        RuleFigures { requests, client_errors: by_class(4), errors: by_class(5), ttft_seconds, ttft_count }
    }

    fn calls(&self) -> &Calls {
        self.calls.get_or_init(Box::default)
    }
}

/// The requests of all these rules.
pub(super) fn total(all: &[Arc<Requests>]) -> RequestTotals {
    let calls: Vec<&Calls> = all.iter().filter_map(|one| one.calls.get()).map(|calls| &**calls).collect();
    let counted = |class: usize| all.iter().map(|one| one.by_class[class].load(Relaxed)).sum();
    let tokens = |read: fn(&Calls) -> &AtomicU64| calls.iter().fold(0, |sum: u64, one| sum.saturating_add(read(one).load(Relaxed)));
    RequestTotals {
        by_class: std::array::from_fn(|class| (CLASSES[class], counted(class))),
        duration: sum(all.iter().map(|one| &one.duration)),
        first_content: sum(calls.iter().map(|calls| &calls.first_content)),
        input_tokens: tokens(|calls| &calls.input_tokens),
        output_tokens: tokens(|calls| &calls.output_tokens),
        nano_usd: tokens(|calls| &calls.nano_usd),
    }
}

/// Notes a request whose trace is kept as an example of its rule's times.
pub(super) fn note(exemplars: &Exemplars, record: &RequestRecord, duration: Duration, example: Example) {
    let Some(rule) = &record.rule else { return };
    let route @ RouteName { kind, name, rule, rule_name } = &rule.route;
    // One with a name is known by that alone.
    let number = if rule_name.is_some() { 0 } else { *rule };
    let key = (kind, name, number, rule_name);
    let labels = || written(&[("route", &route.to_string()), ("kind", kind.name())]);
    exemplars.observe(Histogram::Requests, key, labels, example, duration);
    if let Some(after) = record.first_content() {
        exemplars.observe(Histogram::FirstTokens, key, labels, example, after);
    }
}

/// Reads the series of all rules.
#[derive(Debug)]
pub(super) struct RequestCollector(pub(super) Arc<ByRoute<Requests>>);

impl Collector for RequestCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.labelled();
        let classes = all.iter().flat_map(|(labels, series)| {
            let counted = |class: usize| series.iter().map(|one| one.by_class[class].load(Relaxed)).sum::<u64>();
            CLASSES.iter().enumerate().map(move |(class, code)| ([labels.route(), labels.kind(), ("code", code)], counted(class)))
        });
        metric_table::counters(&mut encoder, "pailou_requests", "Requests by rule and class of status", classes)?;
        let durations =
            all.iter().map(|(labels, series)| ([labels.route(), labels.kind()], sum(series.iter().map(|one| &one.duration))));
        let help = "From a request's head to its response's end";
        metric_table::histograms(&mut encoder, Histogram::Requests.name(), help, durations)?;
        encode_calls(&mut encoder, &all)
    }
}

fn encode_calls(encoder: &mut DescriptorEncoder<'_>, all: &Labelled<Requests>) -> fmt::Result {
    let calls: Vec<(&RouteLabels, Vec<&Calls>)> = all
        .iter()
        .map(|(labels, series)| (labels, series.iter().filter_map(|one| one.calls.get()).map(|calls| &**calls).collect::<Vec<_>>()))
        .filter(|(_, calls)| !calls.is_empty())
        .collect();
    let first =
        calls.iter().map(|(labels, calls)| ([labels.route(), labels.kind()], sum(calls.iter().map(|calls| &calls.first_content))));
    let help = "From a model call's head to the first content of its response";
    metric_table::histograms(encoder, Histogram::FirstTokens.name(), help, first)?;

    let tokens = calls.iter().flat_map(|(labels, calls)| {
        let sum = |read: fn(&Calls) -> &AtomicU64| calls.iter().map(|calls| read(calls).load(Relaxed)).sum::<u64>();
        let by_type = [("input", sum(|calls| &calls.input_tokens)), ("output", sum(|calls| &calls.output_tokens))];
        by_type.map(|(of, counted)| ([labels.route(), labels.kind(), ("type", of)], counted))
    });
    metric_table::counters(encoder, "pailou_tokens", "Tokens as the backends counted them", tokens)?;

    let costs = calls.iter().map(|(labels, calls)| {
        let sum = calls.iter().fold(0, |sum: u64, calls| sum.saturating_add(calls.nano_usd.load(Relaxed)));
        ([labels.route(), labels.kind()], sum)
    });
    let costs = costs.filter(|(_, sum)| *sum > 0).map(|(labels, sum)| (labels, sum as f64 / 1e9));
    metric_table::counters(encoder, "pailou_cost_usd", "Price of the tokens, in US dollars", costs)
}
