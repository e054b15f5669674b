//! `pailou`: an inference gateway, in one binary.
//!
//! Each command is a file. Standard output is data, standard error is talk; the exit status is 0 when all is well, 1 when something was
//! not accepted, 2 for trouble.

mod cli;

mod check;
#[cfg(feature = "cluster")]
mod controller;
mod demo;
mod explain;
mod keys;
mod limits;
mod picker;
#[cfg(feature = "cluster")]
mod proxy;
mod serve;
mod session_key;
mod sim;
mod tokenizers;
mod top;

mod configuration;
mod no_endpoints;
mod source;
mod standalone;

mod admin;
mod document;
mod exchange;
mod gather;
mod overview;
mod printable;
mod report;
mod table;
mod telemetry_variables;
mod troubled;

mod exit;
mod handover;
mod limit_service;
mod limit_store;
mod log_file;
mod logging;
mod runtime;
mod signals;

/// A request makes and drops some dozens of small allocations on one thread; this allocator does that for a third of what
/// the system's takes (see `bench/`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(test)]
#[path = "../tests/cli/dir.rs"]
mod test_dir;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use exit::{Error, ExitOutcome};
use printable::Printable;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(outcome) => outcome.into(),
        // A reader that closed the pipe has read enough.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            for part in error.parts() {
                eprintln!("error: {}", Printable(part));
            }
            if let Some(hint) = error.hint() {
                eprintln!("\nhint: {hint}");
            }
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<ExitOutcome, Error> {
    let filter = match cli.command {
        Command::Serve(_) | Command::Proxy(_) => "info",
        // The controller logs each error of a watch once itself.
        Command::Controller(_) | Command::Picker(_) => "info,kube_runtime=error",
        _ => "warn",
    };
    logging::start(&cli.log, filter)?;
    match &cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Limits(args) => limits::run(args),
        Command::Top(args) => top::run(args),
        Command::Explain(args) => explain::run(args),
        #[cfg(feature = "cluster")]
        Command::Controller(args) => controller::run(args),
        #[cfg(feature = "cluster")]
        Command::Proxy(args) => proxy::run(args),
        #[cfg(not(feature = "cluster"))]
        Command::Controller(_) | Command::Proxy(_) => Err(Error::WithoutCluster),
        Command::Picker(args) => picker::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Sim(args) => sim::run(args),
    }
}
