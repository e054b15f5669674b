//! Results as tables and as JSON.

use std::{fmt::Write as _, fs, io, path::Path};

use serde::Serialize;

use super::{load::SocketWorkload, setup::Setup, turn::SocketSample};
use crate::{error::Error, machine::Machine, stats::Spread};

/// Everything the turns show.
#[derive(Debug, Serialize)]
pub(super) struct SocketReport {
    pub(super) machine: Machine,
    pub(super) engines: u16,
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    pub(super) samples: Vec<SocketSample>,
    /// Setups that lack a program, turns that failed, and why.
    pub(super) left_out: Vec<String>,
}

impl SocketReport {
    /// Writes `sockets.md` and `sockets.json`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::other);
        for (name, bytes) in [("sockets.md", Ok(self.markdown().into_bytes())), ("sockets.json", json)] {
            let path = directory.join(name);
            bytes.and_then(|bytes| fs::write(&path, bytes)).map_err(|source| Error::Write { path, source })?;
        }
        Ok(())
    }

    /// The results as tables, one for each workload and rate.
    pub(super) fn markdown(&self) -> String {
        let Self { machine, engines, rounds, seconds, .. } = self;
        let mut page =
            format!("{machine}; {engines} engines; {rounds} rounds of {seconds} s. Medians over the rounds, (lowest–highest).\n");
        let mut loads: Vec<(SocketWorkload, f64)> = Vec::new();
        for sample in &self.samples {
            if !loads.contains(&(sample.workload, sample.rate)) {
                loads.push((sample.workload, sample.rate));
            }
        }
        for (workload, rate) in loads {
            page.push_str(&self.table(workload, rate));
        }
        for turn in &self.left_out {
            page.extend(["\n", turn, "\n"]);
        }
        page
    }

    fn table(&self, workload: SocketWorkload, rate: f64) -> String {
        let mut table = format!(
            "\n### {} (`{}`), {rate} requests/s\n\n| | CPU ms/request, gateway and picker | TTFT mean, ms | p50 | added p50 | p90 | p99 \
             | cached | MB | errors |\n|---{}|\n",
            workload.shape().title,
            workload.name(),
            "|---".repeat(9)
        );
        let mut setups: Vec<&str> = Vec::new();
        let of_load = || self.samples.iter().filter(|sample| sample.workload == workload && sample.rate == rate);
        for sample in of_load() {
            if !setups.contains(&sample.setup) {
                setups.push(sample.setup);
            }
        }
        let direct = |round| of_load().find(|sample| sample.round == round && sample.setup == Setup::RoundRobin.title());
        for setup in setups {
            let rows = || of_load().filter(|sample| sample.setup == setup);
            let spread = |figure: &dyn Fn(&SocketSample) -> f64, digits| cell(Spread::of(rows().map(figure)), digits);
            let added =
                |sample: &SocketSample| direct(sample.round).map_or(f64::NAN, |direct| sample.ttft_p50_ms - direct.ttft_p50_ms);
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "| {setup} | {} | {} | {} | {} | {} | {} | {} % | {} | {} |",
                spread(&|sample| sample.cpu_ms.unwrap_or(f64::NAN), 3),
                spread(&|sample| sample.ttft_mean_ms, 2),
                spread(&|sample| sample.ttft_p50_ms, 2),
                if workload.shape().instant { spread(&added, 2) } else { "–".into() },
                spread(&|sample| sample.ttft_p90_ms, 2),
                spread(&|sample| sample.ttft_p99_ms, 2),
                spread(&|sample| sample.hit_share * 100.0, 1),
                spread(&|sample| sample.resident.map_or(f64::NAN, |bytes| bytes as f64 / 1e6), 0),
                rows().map(|sample| sample.errors).sum::<u64>(),
            );
        }
        table
    }
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(
        || "–".into(),
        |Spread { median, low, high }| {
            if low == high { format!("{median:.digits$}") } else { format!("{median:.digits$} ({low:.digits$}–{high:.digits$})") }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_over_the_same_round_without_a_gateway() {
        let sample = |setup: Setup, round, p50| SocketSample {
            workload: SocketWorkload::Medium,
            setup: setup.title(),
            round,
            rate: 20.0,
            requests: 1,
            errors: 1,
            first_error: None,
            ttft_mean_ms: 1.0,
            ttft_p50_ms: p50,
            ttft_p90_ms: 1.0,
            ttft_p99_ms: 1.0,
            hit_share: 0.5,
            cpu_ms: None,
            resident: None,
        };
        let samples = vec![
            sample(Setup::RoundRobin, 0, 1.0),
            sample(Setup::RoundRobin, 1, 3.0),
            sample(Setup::Exact, 0, 1.5),
            sample(Setup::Exact, 1, 3.25),
        ];
        let machine = Machine::this("undated");
        let report = SocketReport { machine, engines: 4, rounds: 2, seconds: 1, samples, left_out: vec!["x".into()] };
        let page = report.markdown();
        assert!(
            page.contains("| pailou, exact | – | 1.00 | 2.38 (1.50–3.25) | 0.38 (0.25–0.50) | 1.00 | 1.00 | 50.0 % | – | 2 |"),
            "{page}"
        );
    }
}
