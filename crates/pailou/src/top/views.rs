//! Rows of the views.

use serde_json::Value;

use super::{
    grid::{Cell, Column, Grid, Tone, number, text},
    rates::{Rates, quantile},
};
use crate::overview::{EndpointRow, Histogram, Overview};

const POOLS: &[Column] = &[
    text("POOL"),
    text("ENDPOINT"),
    text("STATE"),
    number("REQ/S"),
    number("SHARE%"),
    number("WAITING"),
    number("RUNNING"),
    number("KV%"),
    number("FLIGHT"),
    number("PREDICTED"),
    number("CACHED"),
    text("PROBLEM"),
];
const MODELS: &[Column] = &[
    text("MODEL"),
    text("SENT AS"),
    number("REQ/S"),
    number("REQUESTS"),
    number("4XX"),
    number("5XX"),
    number("TTFT MS"),
    number("TOKENS IN"),
    number("TOKENS OUT"),
];
const ROUTES: &[Column] = &[
    text("ROUTE"),
    text("STATUS"),
    number("REQUESTS"),
    number("4XX"),
    number("5XX"),
    number("TTFT MS"),
    text("MATCH"),
    text("BACKENDS"),
    text("PROBLEM"),
];
const REQUESTS: &[Column] = &[
    text("TIME"),
    number("STATUS"),
    text("FLAG"),
    text("KEPT"),
    number("TTFT MS"),
    number("TOTAL MS"),
    number("TRIES"),
    text("MODEL"),
    text("ENDPOINT"),
    text("PATH"),
    text("ID"),
];
const LIMITS: &[Column] =
    &[text("CLIENT"), number("SPENT"), number("RESERVED"), number("LIMIT"), number("USED%"), number("RESETS S"), text("RULE")];
const GATEWAYS: &[Column] = &[
    text("GATEWAY"),
    text("ACCEPTED"),
    text("PROGRAMMED"),
    number("LISTENERS"),
    number("ROUTES"),
    text("ADDRESSES"),
    text("PROBLEM"),
];

/// The process in some lines.
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
        let role = if controller.leader { "leads" } else { "does not lead" };
        let writes: Vec<_> = controller.status_writes.iter().map(|(result, count)| format!("{result} {count}")).collect();
        lines.push(format!("replica   {role}  {} objects  writes of statuses: {}", controller.objects, writes.join("  ")));
    }
    if let Some(unknown) = &sample.unknown {
        lines.push(format!("not known here: {unknown}"));
    }
    lines.into_iter().map(|line| crate::printable::Printable(line).to_string()).collect()
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

/// An engine a row.
pub(super) fn pools(sample: &Overview, rates: &Rates) -> Grid {
    let mut rows = Vec::new();
    for pool in sample.pools.iter().flatten() {
        let all = rates.pool(&pool.name);
        for endpoint in &pool.endpoints {
            let rate = rates.endpoint(&pool.name, &endpoint.address);
            let share = rate.filter(|_| all > 0.0).map(|rate| rate * 100.0 / all);
            rows.push(vec![
                Cell::text(&pool.name),
                Cell::text(if endpoint.role.is_empty() {
                    endpoint.name.clone()
                } else {
                    format!("{} ({})", endpoint.name, endpoint.role)
                }),
                Cell::text(&endpoint.state).toned(state_tone(endpoint)),
                Cell::perhaps(rate, 1),
                Cell::perhaps(share, 0),
                Cell::number(endpoint.waiting.into(), 0),
                Cell::number(endpoint.running.into(), 0),
                Cell::number(f64::from(endpoint.kv) * 100.0, 0),
                Cell::count(endpoint.in_flight.into()),
                Cell::count(endpoint.predicted_tokens),
                Cell::count(endpoint.cached_tokens),
                Cell::text(endpoint.problem.clone().unwrap_or_default()),
            ]);
        }
        if pool.endpoints_omitted > 0 {
            let mut row = vec![Cell::default(); POOLS.len()];
            row[0] = Cell::text(&pool.name);
            row[1] = Cell::text(format!("and {} more", pool.endpoints_omitted));
            rows.push(row);
        }
    }
    Grid { columns: POOLS, rows }
}

fn state_tone(endpoint: &EndpointRow) -> Tone {
    match &*endpoint.state {
        "ready" => Tone::Good,
        "stale" => Tone::Warning,
        _ => Tone::Bad,
    }
}

/// A model a row.
pub(super) fn models(sample: &Overview, rates: &Rates) -> Grid {
    let rows = sample.models.iter().flatten().map(|model| {
        let ttft = (model.ttft.count > 0).then(|| model.ttft.sum / model.ttft.count as f64 * 1e3);
        vec![
            Cell::text(&model.model),
            Cell::text(if model.sent == model.model { "" } else { &model.sent }),
            Cell::perhaps(rates.model(model), 1),
            Cell::count(model.requests),
            Cell::count(model.client_errors),
            Cell::count(model.errors).toned(if model.errors > 0 { Tone::Bad } else { Tone::Plain }),
            Cell::perhaps(ttft, 0),
            Cell::count(model.input_tokens),
            Cell::count(model.output_tokens),
        ]
    });
    Grid { columns: MODELS, rows: rows.collect() }
}

/// A Gateway of a controller a row.
pub(super) fn gateways(sample: &Overview) -> Grid {
    let word = |word: &str| Cell::text(word).toned(if word == "True" { Tone::Good } else { Tone::Bad });
    let rows = sample.gateways.iter().flatten().map(|gateway| {
        vec![
            Cell::text(&gateway.name),
            word(&gateway.accepted),
            word(&gateway.programmed),
            Cell::count(gateway.listeners as u64),
            Cell::count(gateway.attached_routes.into()),
            Cell::text(gateway.addresses.join(", ")),
            Cell::text(gateway.problem.clone().unwrap_or_default()),
        ]
    });
    Grid { columns: GATEWAYS, rows: rows.collect() }
}

/// A rule a row, of `/routes`.
pub(super) fn routes(document: &Value) -> Grid {
    let mut rows = Vec::new();
    for route in list(&document["routes"]) {
        let severity = word(&route["severity"]);
        let status = match severity {
            "error" => Cell::text(severity).toned(Tone::Bad),
            "warning" => Cell::text(severity).toned(Tone::Warning),
            _ => Cell::text("ok").toned(Tone::Good),
        };
        let problems = list(&route["conditions"]).iter().filter(|it| it["severity"] != "note").map(|it| &it["message"]);
        let problem = problems.chain(list(&route["ignored"])).map(word).find(|message| !message.is_empty()).unwrap_or_default();
        let start = |name: &str| vec![Cell::text(format!("{} {name}", word(&route["kind"]))), status.clone()];
        if list(&route["rules"]).is_empty() {
            let mut row = start(word(&route["name"]));
            row.extend(vec![Cell::default(); ROUTES.len() - 3]);
            row.push(Cell::text(problem));
            rows.push(row);
        }
        for rule in list(&route["rules"]) {
            let errors = rule["errors"].as_u64();
            let ttft = rule["ttft"]["count"].as_u64().filter(|count| *count > 0);
            let ttft = ttft.map(|count| rule["ttft"]["sum"].as_f64().unwrap_or(0.0) / count as f64 * 1e3);
            let mut row = start(word(&rule["name"]));
            row.extend([
                Cell::perhaps(rule["requests"].as_f64(), 0),
                Cell::perhaps(rule["clientErrors"].as_f64(), 0),
                Cell::perhaps(rule["errors"].as_f64(), 0).toned(if errors > Some(0) { Tone::Bad } else { Tone::Plain }),
                Cell::perhaps(ttft, 0),
                Cell::text(joined(&[&rule["hostnames"], &rule["matches"]])),
                Cell::text(joined(&[&rule["backends"]])),
                Cell::text(problem),
            ]);
            rows.push(row);
        }
    }
    Grid { columns: ROUTES, rows }
}

/// A receipt a row, of `/receipts`.
pub(super) fn requests(document: &Value) -> Grid {
    let rows = list(&document["receipts"]).iter().map(|receipt| {
        let status = receipt["status"].as_f64();
        let tone = match status {
            Some(400.0..500.0) => Tone::Warning,
            Some(100.0..400.0) => Tone::Plain,
            _ => Tone::Bad,
        };
        let attempts = list(&receipt["attempts"]);
        vec![
            Cell::text(word(&receipt["time"]).split_once('T').map_or("", |(_, time)| time)),
            Cell::perhaps(status, 0).toned(tone),
            Cell::text(word(&receipt["flag"])),
            Cell::text(word(&receipt["kept"])),
            Cell::perhaps(receipt["timing"]["ttft"].as_f64(), 0),
            Cell::perhaps(receipt["timing"]["total"].as_f64(), 0),
            Cell::perhaps(receipt["attempts_made"].as_f64(), 0),
            Cell::text(word(&receipt["model"]["asked"])),
            Cell::text(attempts.last().map_or("", |attempt| word(&attempt["endpoint"]))),
            Cell::text(word(&receipt["path"])),
            Cell::text(word(&receipt["request_id"])),
        ]
    });
    Grid { columns: REQUESTS, rows: rows.collect() }
}

/// A counter a row, of `/limits`.
pub(super) fn limits(document: &Value) -> Grid {
    let rows = list(&document["counters"]).iter().map(|counter| {
        let number = |name: &str| counter[name].as_f64();
        let used = number("limit").filter(|limit| *limit > 0.0).map(|limit| number("spent").unwrap_or(0.0) * 100.0 / limit);
        let tone = match used {
            Some(100.0..) => Tone::Bad,
            Some(80.0..) => Tone::Warning,
            _ => Tone::Plain,
        };
        let client = word(&counter["client"]);
        vec![
            Cell::text(if client.is_empty() { "-" } else { client }),
            Cell::perhaps(number("spent"), 0),
            Cell::perhaps(number("reserved"), 0),
            Cell::perhaps(number("limit"), 0),
            Cell::perhaps(used, 0).toned(tone),
            Cell::perhaps(number("resetsInSeconds"), 0),
            Cell::text(word(&counter["rule"])),
        ]
    });
    Grid { columns: LIMITS, rows: rows.collect() }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn joined(lists: &[&Value]) -> String {
    lists.iter().flat_map(|value| list(value)).map(word).collect::<Vec<_>>().join("; ")
}
