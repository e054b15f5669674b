//! Tables in Markdown.

use std::fmt::Write as _;

use crate::{
    stats::Spread,
    summary::{ClusterSummary, DIRECT, FootprintSummary, PartSummary, Summary},
    workload::{Kind, Workload},
};

/// The heading of a workload's table.
pub(crate) fn heading(workload: Workload) -> String {
    let (title, columns) = (workload.shape().title, columns(workload));
    let mut text = format!("\n### {title} (`{}`)\n\n| |", workload.name());
    for column in &columns {
        // Writing to a string cannot fail.
        let _ = write!(text, " {column} |");
    }
    text + "\n|---" + &"|---".repeat(columns.len()) + "|\n"
}

/// A subject's row in it.
pub(crate) fn row(summary: &Summary) -> String {
    let mut cells = vec![
        summary.subject.clone(),
        with_spread(summary.cpu_us, 1.0, 1),
        with_spread(summary.cpu_ratio, 1.0, 2),
        // Without a gateway nothing is added: what the others are added to stands here.
        if summary.subject == DIRECT {
            format!("{} in all", median(summary.p50_us, 1.0, 0))
        } else {
            with_spread(summary.added_p50_us, 1.0, 0)
        },
        median(summary.added_p99_us, 1.0, 0),
        median(summary.per_second, 1.0, 0),
    ];
    if !summary.workload.streams() {
        cells.extend([median(summary.full_cpu_us, 1.0, 1), with_spread(summary.full_cpu_ratio, 1.0, 2)]);
    }
    if summary.workload.base().is_some() {
        let figures = [summary.own_ratio, summary.full_own_ratio, summary.own_per_second];
        cells.extend(figures.map(|figure| with_spread(figure, 1.0, 2)));
    }
    cells.push(median(summary.resident, 1e6, 1));
    cells.push(summary.others.map_or_else(none, |share| format!("≤{:.0} %", share * 100.0)));
    cells.push(summary.errors.to_string());
    line(cells)
}

/// A subject's row in a table of starts or idle streams.
pub(crate) fn footprint_row(summary: &FootprintSummary) -> String {
    let mut cells = vec![summary.subject.clone()];
    if summary.workload == Workload::Start {
        cells.push(with_spread(summary.start_ms, 1.0, 1));
    }
    cells.push(with_spread(summary.idle_bytes, 1e6, 1));
    cells.push(median(summary.anonymous_bytes, 1e6, 1));
    if summary.workload != Workload::Start {
        cells.push(summary.streams.map_or_else(none, |streams| streams.to_string()));
        cells.push(with_spread(summary.held_bytes, 1e6, 1));
        cells.push(with_spread(summary.bytes_per_stream, 1e3, 1));
    }
    line(cells)
}

/// A build's row in the table of the cluster.
pub(crate) fn cluster_row(summary: &ClusterSummary) -> String {
    let part = |part: &PartSummary| {
        [with_spread(part.cpu_ms, 1.0, 2), with_spread(part.bytes, 1e6, 1), median(part.anonymous_bytes, 1e6, 1)]
    };
    let mut cells = vec![summary.subject.clone(), with_spread(summary.p50_ms, 1.0, 1), with_spread(summary.p99_ms, 1.0, 1)];
    cells.extend(part(&summary.controller));
    cells.extend(part(&summary.proxy));
    line(cells)
}

/// Cells as a row.
pub(crate) fn line(cells: Vec<String>) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn columns(workload: Workload) -> Vec<String> {
    let own = |columns: &[&str]| columns.iter().map(|&column| column.to_owned()).collect::<Vec<_>>();
    let mut columns = match workload.shape().kind {
        Kind::Cluster => {
            return own(&[
                "ms to a new route's first 200, p50",
                "p99",
                "controller: CPU ms/route",
                "MB",
                "of them anonymous",
                "proxy: CPU ms/route",
                "MB",
                "of them anonymous",
            ]);
        }
        Kind::Start => return own(&["ms to the first response", "MB then", "of them anonymous"]),
        Kind::Idle(_) => return own(&["MB idle", "of them anonymous", "streams", "MB with them", "KB per stream"]),
        Kind::Streams(_) => own(&["CPU µs/chunk", "× haproxy", "added to first chunk, p50 µs", "p99 µs", "chunks/s"]),
        Kind::Requests(rate) => {
            let mut columns = vec![format!("CPU µs/request at {rate}/s")];
            columns.extend(own(&[
                "× haproxy",
                "added p50 µs",
                "added p99 µs",
                "requests/s at full speed",
                "CPU µs/request",
                "× haproxy",
            ]));
            columns
        }
    };
    if let Some(base) = workload.base() {
        let base = base.name();
        columns.extend([format!("CPU × own `{base}`"), "at full speed".into(), "requests/s × own".into()]);
    }
    columns.extend(own(&["MB", "others on its core", "errors"]));
    columns
}

fn with_spread(spread: Option<Spread>, unit: f64, digits: usize) -> String {
    spread.map_or_else(none, |spread| {
        let Spread { median, low, high } = spread.over(unit);
        format!("{median:.digits$} ({low:.digits$}–{high:.digits$})")
    })
}

fn median(spread: Option<Spread>, unit: f64, digits: usize) -> String {
    spread.map_or_else(none, |spread| format!("{:.digits$}", spread.median / unit))
}

fn none() -> String {
    "–".into()
}
