//! Results as a page of Markdown, as JSON and as charts.

use std::{fmt::Write as _, fs, io, path::Path};

use serde::Serialize;

use super::{
    curve::{Curve, Line},
    model::EngineModel,
    outcome::{Objective, PickerFigures, RunResult},
    pickers::PickerKind,
    workload::Run,
};
use crate::error::Error;

/// Everything the runs show.
#[derive(Debug, Serialize)]
pub(super) struct PickerReport {
    pub(super) seed: u64,
    pub(super) replicas: u16,
    pub(super) objective: Objective,
    pub(super) model: EngineModel,
    pub(super) sections: Vec<Section>,
}

/// One workload.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    pub(super) workload: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) rows: Vec<Row>,
}

/// One picker in one run.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) picker: &'static str,
    pub(super) whole: PickerFigures,
    pub(super) steps: Vec<Step>,
    /// Its requests of each priority; empty where they have one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) priorities: Vec<PrioritySteps>,
}

/// One picker's requests of one priority.
#[derive(Debug, Serialize)]
pub(super) struct PrioritySteps {
    pub(super) priority: i32,
    pub(super) steps: Vec<Step>,
}

/// Figures at one load.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) load: f64,
    pub(super) figures: PickerFigures,
}

impl Row {
    pub(super) fn new(kind: PickerKind, run: &Run, result: &RunResult, objective: Objective) -> Self {
        let steps = |figures: &dyn Fn(usize) -> PickerFigures| {
            let stages = run.first_stage..run.loads.len();
            stages.map(|stage| Step { load: run.loads[stage], figures: figures(stage) }).collect()
        };
        let priorities = result.priorities();
        let of = |priority: &i32| PrioritySteps {
            priority: *priority,
            steps: steps(&|stage| result.of_priority(*priority, stage, objective)),
        };
        Self {
            picker: kind.title(),
            whole: result.whole(run, objective),
            steps: steps(&|stage| result.stage(stage, objective)),
            priorities: if priorities.len() > 1 { priorities.iter().map(of).collect() } else { Vec::new() },
        }
    }
}

impl PickerReport {
    /// Writes `picker.md`, `picker.json` and the charts.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            fs::write(&path, bytes).map_err(|source| Error::Write { path, source })
        };
        write("picker.md", self.markdown().as_bytes())?;
        for section in &self.sections {
            write(&format!("picker-{}.svg", section.workload), section.curve().svg().as_bytes())?;
        }
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Write { path: directory.join("picker.json"), source: io::Error::other(error) })?;
        write("picker.json", &json)
    }

    /// The results as tables.
    pub(super) fn markdown(&self) -> String {
        let Objective { ttft, tpot } = self.objective;
        let mut page = format!(
            "{} replicas of {} KV tokens, seed {}. Goodput: TTFT ≤ {ttft} s, TPOT ≤ {tpot} s.\n",
            self.replicas,
            self.model.kv_blocks * super::prompt::BLOCK_TOKENS,
            self.seed,
        );
        for section in &self.sections {
            page.push_str(&section.markdown());
        }
        page
    }
}

impl Section {
    fn markdown(&self) -> String {
        let mut page = format!("\n### {} (`{}`)\n", self.title, self.workload);
        let loads = self.loads();
        if loads.len() > 1 {
            page.push_str(&self.by_load("TTFT mean, s", &loads, |figures| figures.ttft_mean));
            page.push_str(&self.by_load("TTFT p90, s", &loads, |figures| figures.ttft_p90));
        }
        if self.has_priorities() {
            page.push_str(&self.by_priority("TTFT p50, s (not served)", &loads, |figures| figures.ttft_p50));
            page.push_str(&self.by_priority("TTFT p99, s (not served)", &loads, |figures| figures.ttft_p99));
        }
        // A run of many loads has one table; runs of one load each have theirs.
        if self.rows.iter().any(|row| row.steps.len() > 1) {
            page.push_str(&table("all loads", self.rows.iter().map(|row| (row.picker, &row.whole))));
            return page;
        }
        for load in loads {
            let rows = self.rows.iter().filter(|row| row.steps.first().is_some_and(|step| step.load == load));
            page.push_str(&table(&format!("{load} {}", self.unit), rows.map(|row| (row.picker, &row.whole))));
        }
        page
    }

    /// One figure, pickers by loads.
    fn by_load(&self, heading: &str, loads: &[f64], figure: fn(&PickerFigures) -> f64) -> String {
        let mut table = self.head(heading, "", loads);
        for (picker, points) in self.points(figure) {
            let cells: String = points.iter().map(|(_, figure)| format!(" {} |", seconds(*figure))).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(table, "| {picker} |{cells}");
        }
        table
    }

    /// One figure, pickers and priorities by loads, with the share of requests that were not served.
    fn by_priority(&self, heading: &str, loads: &[f64], figure: fn(&PickerFigures) -> f64) -> String {
        let mut table = self.head(heading, " priority |", loads);
        for row in &self.rows {
            for PrioritySteps { priority, steps } in &row.priorities {
                let cell = |step: &Step| {
                    let failed = step.figures.failed as f64 / step.figures.requests.max(1) as f64;
                    format!(" {} ({:.0} %) |", seconds(figure(&step.figures)), failed * 100.0)
                };
                let cells: String = steps.iter().map(cell).collect();
                // Writing to a string cannot fail.
                let _ = writeln!(table, "| {} | {priority} |{cells}", row.picker);
            }
        }
        table
    }

    /// Every picker's figure by load, both in their order.
    fn points(&self, figure: fn(&PickerFigures) -> f64) -> Vec<(&'static str, Vec<(f64, f64)>)> {
        let mut lines: Vec<(&'static str, Vec<(f64, f64)>)> = Vec::new();
        for row in &self.rows {
            if lines.iter().all(|(picker, _)| *picker != row.picker) {
                lines.push((row.picker, Vec::new()));
            }
            let points = row.steps.iter().map(|step| (step.load, figure(&step.figures)));
            if let Some((_, line)) = lines.iter_mut().find(|(picker, _)| *picker == row.picker) {
                line.extend(points);
            }
        }
        lines
    }

    fn loads(&self) -> Vec<f64> {
        let first = self.rows.first().map(|row| row.picker);
        self.rows.iter().filter(|row| Some(row.picker) == first).flat_map(|row| &row.steps).map(|step| step.load).collect()
    }

    fn has_priorities(&self) -> bool {
        self.rows.iter().any(|row| !row.priorities.is_empty())
    }

    /// The head of a table of one figure by loads; `column` is one beside the pickers'.
    fn head(&self, heading: &str, column: &str, loads: &[f64]) -> String {
        let mut table = format!("\n| {heading}, by {} |{column}", self.unit);
        table.extend(loads.iter().map(|load| format!(" {load} |")));
        let columns = table.matches('|').count() - 1;
        table.push_str(&format!("\n|{}\n", "---|".repeat(columns)));
        table
    }

    /// TTFT over load: the mean, which every slow request counts in.
    fn curve(&self) -> Curve {
        if self.has_priorities() {
            return self.curve_by_priority();
        }
        let lines = self.points(|figures| figures.ttft_mean).into_iter();
        let lines = lines.map(|(title, points)| Line { title: title.to_owned(), points });
        Curve { title: format!("{}: TTFT mean, s", self.title), unit: self.unit, lines: lines.collect() }
    }

    /// The p99 of each priority, while the load rises.
    fn curve_by_priority(&self) -> Curve {
        let line = |row: &Row, of: &PrioritySteps| {
            let most = of.steps.iter().map(|step| step.load).fold(0.0, f64::max);
            let rising = of.steps.iter().position(|step| step.load >= most).map_or(0, |last| last + 1);
            let points = of.steps[..rising].iter().map(|step| (step.load, step.figures.ttft_p99)).collect();
            Line { title: format!("{}, priority {}", row.picker, of.priority), points }
        };
        let lines = self.rows.iter().flat_map(|row| row.priorities.iter().map(move |of| line(row, of)));
        Curve { title: format!("{}: TTFT p99, s", self.title), unit: self.unit, lines: lines.collect() }
    }
}

fn table<'a>(heading: &str, rows: impl Iterator<Item = (&'static str, &'a PickerFigures)>) -> String {
    let mut table = format!(
        "\n| {heading} | TTFT mean | p50 | p90 | p99, s | TPOT, ms | tokens/s | cached | computed, cached elsewhere | M tokens twice \
         | imbalance | goodput | failed |\n|---{}|\n",
        "|---".repeat(12),
    );
    for (picker, figures) in rows {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {picker} | {} | {} | {} | {} | {:.1} | {:.0} | {} | {} | {:.2} | {:.2} | {} | {} |",
            seconds(figures.ttft_mean),
            seconds(figures.ttft_p50),
            seconds(figures.ttft_p90),
            seconds(figures.ttft_p99),
            figures.tpot_mean * 1e3,
            figures.tokens_per_second,
            percent(figures.hit_share),
            percent(figures.elsewhere_share),
            figures.tokens_twice as f64 / 1e6,
            figures.imbalance,
            percent(figures.goodput),
            figures.failed,
        );
    }
    table
}

fn seconds(figure: f64) -> String {
    match figure {
        figure if figure < 9.995 => format!("{figure:.3}"),
        figure => format!("{figure:.1}"),
    }
}
