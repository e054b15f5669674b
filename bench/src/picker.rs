//! `pailou-bench picker`: pickers beside each other on simulated engines, in virtual time.
//!
//! The simulation runs the gateway's own picker and others on the same requests. Nothing sleeps, and nothing reads a clock: equal
//! seeds give equal results on every machine. In reading order:
//!
//! - `prompt`, `workload`: requests;
//! - `chain`, `lru`, `kv`, `model`, `replica`: an engine;
//! - `policy`, `pickers`: what is compared;
//! - `timeline`, `simulation`: one run;
//! - `outcome`, `page`, `curve`: figures, tables, a chart.

mod prompt;

mod chain;
mod kv;
mod lru;
mod model;
mod replica;

mod pickers;
mod policy;
mod workload;

mod outcome;
mod simulation;
mod timeline;

mod curve;
mod page;

use std::{
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use clap::{Args, ValueEnum};
use parking_lot::Mutex;

use self::{
    model::EngineModel,
    outcome::{Objective, RunResult},
    page::{PickerReport, Row, Section},
    pickers::PickerKind,
    prompt::BLOCK_TOKENS,
    simulation::Simulation,
    workload::{PickerWorkload, Run, Scenario, WorkloadScale},
};
use crate::error::Error;

/// Compares endpoint pickers on simulated engines, in virtual time.
#[derive(Debug, Args)]
pub(crate) struct PickerArgs {
    /// A workload, may be repeated; all unless given, `conversation` only with --trace.
    #[arg(long, value_name = "WORKLOAD", value_enum)]
    workload: Vec<PickerWorkload>,
    /// A picker, may be repeated; all unless given.
    #[arg(long, value_name = "PICKER", value_enum)]
    picker: Vec<PickerKind>,
    /// Mooncake's conversation_trace.jsonl, for the workload `conversation`.
    #[arg(long, value_name = "PATH")]
    trace: Option<PathBuf>,
    /// Replicas of the pool.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=512))]
    replicas: u16,
    /// Tokens of a replica's KV cache.
    #[arg(long, value_name = "TOKENS", default_value_t = 307_328, value_parser = clap::value_parser!(u32).range(4_096..))]
    kv_tokens: u32,
    /// Tokens of KV cache that a replica keeps in its host's memory.
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    host_tokens: u32,
    /// Tokens that the ladder's requests generate.
    #[arg(long, value_name = "TOKENS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    ladder_output: u32,
    /// Percent of the pool's room that a queue keeps for the highest priority.
    #[arg(long, value_name = "PERCENT", default_value_t = 25, value_parser = clap::value_parser!(u8).range(..=90))]
    queue_reserve: u8,
    /// Objective for the time to first token, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    slo_ttft_ms: u32,
    /// Objective for the time of each further token, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 60)]
    slo_tpot_ms: u32,
    /// Seed of requests and of pickers' chance.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Percent of the requests to run.
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    percent: u32,
    /// Directory for picker.md, picker.json and the charts.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

/// Runs the workloads, prints the tables and writes the files.
///
/// # Errors
/// The trace cannot be read, or a file cannot be written.
pub(crate) fn run(args: &PickerArgs) -> Result<(), Error> {
    let all = args.workload.is_empty();
    let workloads = if all { PickerWorkload::value_variants() } else { &args.workload };
    let model = EngineModel {
        kv_blocks: args.kv_tokens / BLOCK_TOKENS,
        host_blocks: args.host_tokens / BLOCK_TOKENS,
        ..EngineModel::default()
    };
    let objective = Objective { ttft: f64::from(args.slo_ttft_ms) / 1e3, tpot: f64::from(args.slo_tpot_ms) / 1e3 };
    let bench = PickerBench { model, seed: args.seed, kinds: args.kinds(), objective, queue_reserve: args.queue_reserve };
    let mut sections = Vec::new();
    for workload in workloads {
        let capacity = |run: &Run| bench.capacity(run, usize::from(args.replicas));
        match workload.scenario(&args.scale(), args.trace.as_deref(), capacity)? {
            Some(scenario) => sections.push(bench.section(*workload, &scenario)?),
            None if all => eprintln!("conversation: left out; it needs --trace"),
            None => return Err(Error::NoTrace),
        }
    }
    let PickerBench { model, seed, .. } = bench;
    let report = PickerReport { seed, replicas: args.replicas, objective, model, sections };
    print!("{}", report.markdown());
    fs::create_dir_all(&args.out).map_err(|source| Error::Write { path: args.out.clone(), source })?;
    report.write(&args.out)
}

impl PickerArgs {
    fn kinds(&self) -> Vec<PickerKind> {
        if self.picker.is_empty() { PickerKind::value_variants().to_vec() } else { self.picker.clone() }
    }

    fn scale(&self) -> WorkloadScale {
        WorkloadScale {
            seed: self.seed,
            replicas: usize::from(self.replicas),
            share: f64::from(self.percent) / 100.0,
            ladder_output: self.ladder_output,
        }
    }
}

/// Engines and pickers of all runs.
struct PickerBench {
    model: EngineModel,
    seed: u64,
    kinds: Vec<PickerKind>,
    objective: Objective,
    queue_reserve: u8,
}

impl PickerBench {
    /// One run with one picker.
    fn simulate(&self, run: &Run, replicas: usize, kind: PickerKind) -> io::Result<RunResult> {
        let picker = kind.start(self.objective, self.queue_reserve, self.seed)?;
        Ok(Simulation::new(run, &self.model, replicas, picker, self.seed).finish())
    }

    /// Requests a second of a run whose clients wait for each other, with the omniscient picker.
    fn capacity(&self, run: &Run, replicas: usize) -> Result<f64, Error> {
        let result = self.simulate(run, replicas, PickerKind::Omniscient).map_err(Error::Engine)?;
        let ended = result.outcomes.iter().map(|outcome| outcome.ended).max().unwrap_or_default();
        Ok(result.outcomes.len() as f64 / ended.as_secs_f64().max(1e-3))
    }

    /// All runs of a workload with all pickers, as many at a time as there are processors.
    fn section(&self, workload: PickerWorkload, scenario: &Scenario) -> Result<Section, Error> {
        let jobs: Vec<_> = self.kinds.iter().flat_map(|kind| scenario.runs.iter().map(move |run| (*kind, run))).collect();
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let work = || {
            while let Some((at, (kind, run))) = Some(next.fetch_add(1, Relaxed)).and_then(|at| Some((at, *jobs.get(at)?))) {
                let row = self.simulate(run, scenario.replicas, kind).map(|result| Row::new(kind, run, &result, self.objective));
                results.lock().push((at, row));
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| (0..threads.min(jobs.len())).for_each(|_| drop(scope.spawn(work))));
        let mut results = results.into_inner();
        results.sort_unstable_by_key(|(at, _)| *at);
        let rows = results.into_iter().map(|(_, row)| row).collect::<io::Result<Vec<_>>>().map_err(Error::Engine)?;
        Ok(Section { workload: workload.name(), title: scenario.title, unit: scenario.unit, rows })
    }
}
