//! `pailou-bench`: the gateway beside its peers.
//!
//! Load and mock engine share one thread on one core, the gateway under test has another. Turns are taken round by round, so that
//! what disturbs the machine for a while disturbs all. README.md says how to read the figures.

mod cli;
mod workload;

mod process;
mod subject;

mod cpu;
mod engine;
mod http;
mod load;
mod turn;

mod machine;
mod report;
mod stats;
mod summary;

mod error;

use std::{env, fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};

use cli::{Cli, PeerName};
use engine::Engine;
use error::Error;
use machine::Machine;
use report::Report;
use subject::Subject;
use summary::Summary;
use turn::{Conditions, Sample};
use workload::Workload;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Error> {
    let core = pin(cli.core);
    let (rounds, seconds) = if cli.smoke { (1, 1) } else { (cli.rounds, cli.seconds.into()) };
    let workloads = if cli.workload.is_empty() { Workload::value_variants() } else { &cli.workload };
    let gateways = if cli.gateway.is_empty() && cli.peer != [PeerName::Direct] { beside_this() } else { cli.gateway.clone() };
    let subjects = Subject::choose(&cli.peer, &gateways)?;
    fs::create_dir_all(&cli.out).map_err(|source| Error::Write { path: cli.out.clone(), source })?;
    // Servers resolve relative paths in their configuration against places of their own.
    let directory = cli.out.canonicalize().map_err(|source| Error::Write { path: cli.out.clone(), source })?;
    let conditions = Conditions { seconds: Duration::from_secs(seconds), core, directory: &directory };

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Engine)?;
    let local = tokio::task::LocalSet::new();
    let samples = local.block_on(&runtime, measure(&conditions, &subjects, workloads, rounds))?;

    let machine = Machine::this(&cli.date, core.is_some());
    let report = Report { machine, rounds, seconds, summaries: Summary::all(&samples), samples };
    print!("{}", report.markdown());
    report.write(&directory)
}

async fn measure(
    conditions: &Conditions<'_>,
    subjects: &[Subject],
    workloads: &[Workload],
    rounds: u32,
) -> Result<Vec<Sample>, Error> {
    let engine = Engine::start().await.map_err(Error::Engine)?;
    let mut samples = Vec::new();
    for &workload in workloads {
        for round in 0..rounds {
            eprintln!("{}: round {} of {rounds}", workload.title(), round + 1);
            for subject in in_turn(subjects, round).filter(|subject| subject.serves(workload)) {
                samples.extend(turn::measure(conditions, &engine, subject, workload, round).await?);
            }
        }
    }
    Ok(samples)
}

/// The subjects in an order that starts elsewhere in each round: none always comes after the same neighbour's warmth.
fn in_turn(subjects: &[Subject], round: u32) -> impl Iterator<Item = &Subject> {
    subjects.iter().cycle().skip(round as usize % subjects.len()).take(subjects.len())
}

/// Moves load and engine away from the gateway's core, which is returned, if there are cores for both.
fn pin(core: usize) -> Option<usize> {
    let own = core + 1;
    match cpu::pin_self(own) {
        Ok(()) => Some(core),
        Err(error) => {
            eprintln!("not pinned: {error}");
            None
        }
    }
}

/// The gateway that was built with this program, if it was.
fn beside_this() -> Vec<PathBuf> {
    let sibling = env::current_exe().ok().and_then(|path| Some(path.parent()?.join("pailou")));
    sibling.into_iter().filter(|path| path.is_file()).collect()
}
