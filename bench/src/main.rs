//! `pailou-bench`: the gateway beside its peers.
//!
//! Load and mock engine share one thread on one core, the gateway under test has another. Turns go round by round, so that a
//! disturbance of the machine affects all subjects. README.md explains the figures.
//!
//! `pailou-bench picker` and `pailou-bench sockets` are other measurements: pickers on simulated engines, in virtual time (`picker`)
//! and over real sockets (`sockets`).

mod cli;
mod workload;

mod peer;
mod process;
mod request;
mod subject;
mod template;
mod tls;
mod token;

mod cpu;
mod engine;
mod http;
mod load;

mod cluster;
mod footprint;
mod rounds;
mod turn;

mod chart;
mod machine;
mod report;
mod stats;
mod summary;
mod table;
mod target;

mod picker;
mod sockets;

mod error;
mod interrupt;

use std::{env, fs, path::PathBuf, process::ExitCode};

use clap::Parser;

use cli::{Cli, Command};
use error::Error;
use machine::Machine;
use report::Report;
use rounds::Results;
use subject::Subject;
use summary::{ClusterSummary, FootprintSummary, Summary};

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
    match &cli.command {
        Some(Command::Picker(args)) => picker::run(args),
        Some(Command::Sockets(args)) => sockets::run(args),
        None => measure(cli),
    }
}

/// Measures gateways.
fn measure(cli: &Cli) -> Result<(), Error> {
    let machine = Machine::this(&cli.date);
    let core = pin(cli.core, machine.processors);
    let gateways = if cli.gateway.is_empty() { beside_this() } else { cli.gateway.clone() };
    let (subjects, absent) = Subject::choose(&cli.peer, &gateways, &cli.peers_in)?;
    absent.iter().for_each(|peer| eprintln!("{peer}"));
    fs::create_dir_all(&cli.out).map_err(|source| Error::Write { path: cli.out.clone(), source })?;
    // Servers resolve relative paths in their configuration against places of their own.
    let directory = cli.out.canonicalize().map_err(|source| Error::Write { path: cli.out.clone(), source })?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Engine)?;
    let results =
        tokio::task::LocalSet::new().block_on(&runtime, interrupt::unless(rounds::measure(cli, &directory, core, &subjects)))?;
    let Results { length, rounds, samples, footprints, clusters, left_out } = results;
    let report = Report {
        machine: Machine { pinned: core.is_some(), ..machine },
        rounds,
        seconds: length.as_secs_f64(),
        summaries: Summary::all(&samples),
        footprint_summaries: FootprintSummary::all(&footprints),
        cluster_summaries: ClusterSummary::all(&clusters),
        samples,
        footprints,
        clusters,
        left_out: absent.into_iter().chain(left_out).collect(),
    };
    print!("{}", report.markdown());
    report.write(&directory)
}

/// Moves load and engine away from the gateway's first core, which is returned, if there are cores for both; from its second too, if
/// there are that many.
fn pin(core: usize, processors: usize) -> Option<usize> {
    let own = if processors > core + 2 { core + 2 } else { core + 1 };
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
