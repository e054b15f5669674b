//! `pailou-bench sockets`: pickers as processes beside each other, on simulated engines over real sockets.
//!
//! In virtual time (`picker`) a pick costs nothing; here it does. Every turn starts fresh engines and one setup, sends the same
//! requests, and measures. In reading order:
//!
//! - `site`: addresses, and configurations with them filled in;
//! - `load`, `client`: requests, and who sends them;
//! - `setup`, `engines`: processes;
//! - `turn`, `page`: one measurement, and all as tables.

mod site;

mod client;
mod load;

mod engines;
mod setup;

mod page;
mod turn;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};

use self::{
    load::SocketWorkload,
    page::SocketReport,
    setup::{Programs, Setup},
    turn::Conditions,
};
use crate::{
    beside_this,
    error::Error,
    interrupt,
    machine::Machine,
    peer::{PeerName, installed},
    pin,
};

/// Compares endpoint pickers as processes, on simulated engines over real sockets.
#[derive(Debug, Args)]
pub(crate) struct SocketArgs {
    /// A workload, may be repeated; all unless given.
    #[arg(long, value_name = "WORKLOAD", value_enum)]
    workload: Vec<SocketWorkload>,
    /// A picker, may be repeated; all whose programs are there unless given.
    #[arg(long, value_name = "SETUP", value_enum)]
    setup: Vec<Setup>,
    /// The `pailou` to measure, which is the engines' program too; the one beside this program unless given.
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// llm-d's picker, built from its cmd/epp.
    #[arg(long, value_name = "PATH")]
    llm_d: Option<PathBuf>,
    /// A directory that peers are installed in, may be repeated: a Python virtual environment.
    #[arg(long, value_name = "DIR")]
    peers_in: Vec<PathBuf>,
    /// Engines of the pool.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=64))]
    engines: u16,
    /// Requests a second instead of the workloads' own, may be repeated.
    #[arg(long, value_name = "N")]
    rate: Vec<f64>,
    /// Rounds; in each, every picker has its turn at every load.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds that are measured in each turn; half as many before it are not.
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Seed of requests and their times.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Core of gateway and picker; clients and engines have the others.
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    core: usize,
    /// Date to put in the results.
    #[arg(long, value_name = "DATE", default_value = "undated")]
    date: String,
    /// Directory for sockets.md, sockets.json, configurations and logs.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

/// Takes all turns, prints the tables and writes the files.
///
/// # Errors
/// There is no gateway to measure, a setup that was asked for lacks a program, or a file cannot be written.
pub(crate) fn run(args: &SocketArgs) -> Result<(), Error> {
    let machine = Machine::this(&args.date);
    let core = pin(args.core, machine.processors);
    fs::create_dir_all(&args.out).map_err(|source| Error::Write { path: args.out.clone(), source })?;
    let directory = args.out.canonicalize().map_err(|source| Error::Write { path: args.out.clone(), source })?;
    let programs = args.programs()?;
    let (setups, left_out) = args.setups(&programs)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Engine)?;
    let machine = Machine { pinned: core.is_some(), ..machine };
    let mut report =
        SocketReport { machine, engines: args.engines, rounds: args.rounds, seconds: args.seconds, samples: Vec::new(), left_out };
    let turns = args.turns(&setups, &programs, &directory, core, &mut report);
    tokio::task::LocalSet::new().block_on(&runtime, interrupt::unless(turns))?;
    print!("{}", report.markdown());
    report.write(&directory)
}

impl SocketArgs {
    /// Every turn: round by round, each beginning with another setup.
    async fn turns(
        &self,
        setups: &[Setup],
        programs: &Programs,
        directory: &Path,
        core: Option<usize>,
        report: &mut SocketReport,
    ) -> Result<(), Error> {
        let length = Duration::from_secs(self.seconds.into());
        let conditions =
            Conditions { programs, engines: self.engines, directory, core, seed: self.seed, warm_up: length / 2, length };
        let workloads = if self.workload.is_empty() { SocketWorkload::value_variants() } else { &self.workload };
        for workload in workloads {
            let shape = workload.shape();
            for rate in if self.rate.is_empty() { shape.rates } else { &self.rate } {
                for round in 0..self.rounds {
                    for setup in setups.iter().cycle().skip(round as usize % setups.len()).take(setups.len()) {
                        let name = format!("{}, {rate}/s, round {}: {}", workload.name(), round + 1, setup.title());
                        eprintln!("{name}");
                        match turn::measure(&conditions, *setup, *workload, *rate, round).await {
                            Ok(sample) => report.samples.push(sample),
                            Err(error) => {
                                eprintln!("left out: {error}");
                                report.left_out.push(format!("{name} is left out: {error}"));
                            }
                        }
                    }
                }
            }
        }
        report.samples.sort_by_key(|sample| setups.iter().position(|setup| setup.title() == sample.setup));
        Ok(())
    }

    fn programs(&self) -> Result<Programs, Error> {
        let find = |peer: PeerName| installed(peer, &self.peers_in);
        let given = self.gateway.clone().or_else(|| beside_this().into_iter().next());
        let missing = Error::NotInstalled { title: "pailou", install: "cargo build --release -p pailou, then --gateway PATH" };
        Ok(Programs {
            // Its processes are started from directories of their own.
            pailou: given.and_then(|path| path.canonicalize().ok()).ok_or(missing)?,
            haproxy: find(PeerName::Haproxy),
            sglang_router: find(PeerName::SglangRouter),
            vllm_router: find(PeerName::VllmRouter),
            envoy: find(PeerName::Envoy),
            llm_d: self.llm_d.clone().or_else(|| env::var_os("LLM_D_EPP").map(PathBuf::from)),
        })
    }

    /// Setups to measure, and notes on those that lack a program.
    fn setups(&self, programs: &Programs) -> Result<(Vec<Setup>, Vec<String>), Error> {
        let asked = if self.setup.is_empty() { Setup::value_variants() } else { &self.setup };
        let (mut setups, mut left_out) = (vec![Setup::RoundRobin], Vec::new());
        for setup in asked.iter().copied().filter(|setup| *setup != Setup::RoundRobin) {
            match setup.missing(programs) {
                None => setups.push(setup),
                Some(install) if !self.setup.is_empty() => return Err(Error::NotInstalled { title: setup.title(), install }),
                Some(install) => left_out.push(format!("{} is left out, as it lacks {install}", setup.title())),
            }
        }
        left_out.iter().for_each(|note| eprintln!("{note}"));
        Ok((setups, left_out))
    }
}
