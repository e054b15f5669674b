//! Results as a page of Markdown, as JSON and as charts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    chart,
    cluster::Clustered,
    error::Error,
    footprint::Footprint,
    machine::Machine,
    summary::{ClusterSummary, FootprintSummary, Summary},
    table, target,
    turn::Sample,
    workload::Workload,
};

/// Everything a run shows.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) summaries: Vec<Summary>,
    pub(crate) footprint_summaries: Vec<FootprintSummary>,
    pub(crate) cluster_summaries: Vec<ClusterSummary>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) footprints: Vec<Footprint>,
    pub(crate) clusters: Vec<Clustered>,
    /// Peers that were not there, and turns that failed, and why.
    pub(crate) left_out: Vec<String>,
}

impl Report {
    /// Writes `results.md`, `results.json` and the charts.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), Error> {
        write(directory.join("results.md"), self.markdown().as_bytes())?;
        for (name, chart) in chart::all(&self.summaries, &self.footprint_summaries) {
            write(directory.join(name), chart.as_bytes())?;
        }
        let path = directory.join("results.json");
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Write { path: path.clone(), source: io::Error::other(error) })?;
        write(path, &json)
    }

    /// The results as tables.
    pub(crate) fn markdown(&self) -> String {
        let Self { machine, rounds, seconds, .. } = self;
        let mut page = format!("{machine}; {rounds} rounds of {seconds} s. Medians over the rounds, (lowest–highest).\n");
        page.push_str(&target::table(&self.summaries, &self.footprint_summaries, machine.processors));
        for &workload in Workload::groups().iter().copied().flatten() {
            let of_load = self.summaries.iter().filter(|summary| summary.workload == workload).map(table::row);
            let of_footprint =
                self.footprint_summaries.iter().filter(|summary| summary.workload == workload).map(table::footprint_row);
            let of_cluster = self.cluster_summaries.iter().filter(|_| workload == Workload::Cluster).map(table::cluster_row);
            let rows: String = of_load.chain(of_footprint).chain(of_cluster).collect();
            if !rows.is_empty() {
                page.extend([table::heading(workload), rows]);
            }
        }
        for turn in &self.left_out {
            page.extend(["\n", turn, "\n"]);
        }
        page
    }
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<(), Error> {
    fs::write(&path, bytes).map_err(|source| Error::Write { path, source })
}
