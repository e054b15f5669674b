//! The process in some lines.

use super::rates::{Rates, quantile};
use crate::{
    overview::{Histogram, Overview},
    printable::Printable,
};

/// State, rates and durations of the process, a line each.
pub(super) fn summary(sample: &Overview, rates: &Rates) -> Vec<String> {
    let ready = if sample.ready { "ready" } else { "NOT READY" };
    let mut lines = vec![format!(
        "{} {}  {}  up {}  version {}  {} with problems",
        sample.kind,
        sample.name,
        ready,
        period(sample.uptime_seconds),
        sample.version,
        counted(sample.problems, "object")
    )];
    if let Some(requests) = &sample.requests {
        let rate = rates.requests.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        lines.push(format!(
            "requests  {rate}/s  {} active  {} since the start, {} unrouted",
            requests.active, requests.total, requests.unrouted
        ));
        let faults = requests.by_fault.iter().filter(|(_, total)| **total > 0).map(|(fault, total)| {
            let rate = rates.errors.get(fault).map_or("-".to_owned(), |rate| format!("{rate:.1}"));
            format!("{fault} {rate}/s ({total})")
        });
        let faults: Vec<_> = faults.collect();
        lines.push(format!("errors    {}", if faults.is_empty() { "none".to_owned() } else { faults.join("  ") }));
    }
    if let Some(latency) = &sample.latency {
        lines.push(format!("ttft      {}", quantiles(&rates.ttft, &latency.ttft)));
        lines.push(format!("duration  {}", quantiles(&rates.duration, &latency.duration)));
        lines.push(format!("per token {}", quantiles(&rates.per_token, &latency.time_per_output_token)));
    }
    if let Some(tokens) = &sample.tokens {
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
        let cost = sample.cost_usd.filter(|cost| *cost > 0.0).map_or(String::new(), |cost| format!("  {cost:.4} USD"));
        lines.push(format!(
            "tokens    {} in/s  {} out/s  {} cached, {} reasoning since the start{cost}",
            rate(rates.input_tokens),
            rate(rates.output_tokens),
            tokens.cached,
            tokens.reasoning
        ));
    }
    if let Some(queue) = &sample.queue {
        lines.push(format!("queue     {} wait, the oldest for {:.1} s", queue.waiting, queue.oldest_wait_seconds));
    }
    if !sample.picks.is_empty() {
        let picks: Vec<_> = sample.picks.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
        lines.push(format!("picks     {}", picks.join("  ")));
    }
    if let Some(controller) = &sample.controller {
        let role = match &controller.leader_name {
            _ if controller.leader => "leads".to_owned(),
            Some(name) => format!("does not lead, {name} does"),
            None => "does not lead".to_owned(),
        };
        let writes: Vec<_> = controller.status_writes.iter().map(|(result, count)| format!("{result} {count}")).collect();
        lines.push(format!("replica   {role}  {} objects  writes of statuses: {}", controller.objects, writes.join("  ")));
    }
    if let Some(unknown) = &sample.unknown {
        lines.push(format!("not known here: {unknown}"));
    }
    lines.into_iter().map(|line| Printable(line).to_string()).collect()
}

/// Quantiles of the last interval, or of all since the start where it had none.
fn quantiles(recent: &Histogram, all: &Histogram) -> String {
    let (histogram, since) = if recent.count > 0 { (recent, "") } else { (all, "  since the start") };
    if histogram.count == 0 {
        return "none yet".to_owned();
    }
    let shown = [(0.5, "p50"), (0.95, "p95"), (0.99, "p99")].map(|(share, name)| {
        let value = quantile(histogram, share).map_or("-".to_owned(), |seconds| millis(seconds * 1e3));
        format!("{name} {value}")
    });
    format!("{}  mean {}{since}", shown.join("  "), millis(histogram.sum / histogram.count as f64 * 1e3))
}

fn millis(millis: f64) -> String {
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else if millis < 10_000.0 {
        format!("{millis:.0} ms")
    } else {
        format!("{:.1} s", millis / 1e3)
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A period in its largest two units.
fn period(seconds: f64) -> String {
    let seconds = seconds as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, _, _) => format!("{d}d{h}h"),
    }
}
