//! Results as a page of Markdown and as JSON.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    error::Error,
    machine::Machine,
    stats::Spread,
    summary::{DIRECT, Summary},
    turn::Sample,
    workload::Workload,
};

/// Everything a run shows.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    pub(crate) summaries: Vec<Summary>,
    pub(crate) samples: Vec<Sample>,
}

impl Report {
    /// Writes `results.md` and `results.json`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), Error> {
        write(directory.join("results.md"), self.markdown().as_bytes())?;
        let path = directory.join("results.json");
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Write { path: path.clone(), source: io::Error::other(error) })?;
        write(path, &json)
    }

    /// The results as tables.
    pub(crate) fn markdown(&self) -> String {
        let Self { machine, rounds, seconds, .. } = self;
        let mut page = format!("{machine}; {rounds} rounds of {seconds} s. Medians over the rounds, (lowest–highest).\n");
        let mut workload = None;
        for summary in &self.summaries {
            if workload.replace(summary.workload) != Some(summary.workload) {
                page.push_str(&heading(summary.workload));
            }
            page.push_str(&row(summary));
        }
        page
    }
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<(), Error> {
    fs::write(&path, bytes).map_err(|source| Error::Write { path, source })
}

fn heading(workload: Workload) -> String {
    let title = workload.title();
    match workload.rate() {
        Some(rate) => format!(
            "\n### {title}\n\n| | CPU µs/request at {rate}/s | × haproxy | added p50 µs | added p99 µs | requests/s at full speed \
             | CPU µs/request | × haproxy | MB | others on its core | errors |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
        ),
        None => format!(
            "\n### {title}\n\n| | CPU µs/chunk | × haproxy | added to first chunk, p50 µs | p99 µs | chunks/s | MB | others on its core \
             | errors |\n|---|---|---|---|---|---|---|---|---|\n"
        ),
    }
}

fn row(summary: &Summary) -> String {
    let mut cells = vec![
        summary.subject.clone(),
        with_spread(summary.cpu_us, 1),
        with_spread(summary.cpu_ratio, 2),
        // Without a gateway nothing is added: what the others are added to stands here.
        if summary.subject == DIRECT {
            format!("{} in all", median(summary.p50_us, 1.0, 0))
        } else {
            with_spread(summary.added_p50_us, 0)
        },
        median(summary.added_p99_us, 1.0, 0),
        median(summary.per_second, 1.0, 0),
    ];
    if !summary.workload.streams() {
        cells.extend([median(summary.full_cpu_us, 1.0, 1), with_spread(summary.full_cpu_ratio, 2)]);
    }
    cells.push(median(summary.resident, 1e6, 1));
    cells.push(summary.others.map_or_else(none, |share| format!("≤{:.0} %", share * 100.0)));
    cells.push(summary.errors.to_string());
    let mut row = String::new();
    for cell in cells {
        // Writing to a string cannot fail.
        let _ = write!(row, "| {cell} ");
    }
    row + "|\n"
}

fn with_spread(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(none, |Spread { median, low, high }| format!("{median:.digits$} ({low:.digits$}–{high:.digits$})"))
}

fn median(spread: Option<Spread>, unit: f64, digits: usize) -> String {
    spread.map_or_else(none, |spread| format!("{:.digits$}", spread.median / unit))
}

fn none() -> String {
    "–".into()
}
