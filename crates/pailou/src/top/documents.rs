//! Rows of the views that have documents of their own: `/routes`, `/receipts`, `/limits`.

use serde_json::Value;

use super::grid::{Cell, Column, Grid, Tone, number, text};

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
