//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{peer::PeerOption, picker::PickerArgs, sockets::SocketArgs, workload::Workload};

/// Measures a gateway's processor time and latency beside its peers', in the same run.
#[derive(Debug, Parser)]
#[command(name = "pailou-bench", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Rounds; in each, every gateway has its turn at every workload.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Seconds that are measured, in each phase of a turn.
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// A `pailou` to measure, may be repeated to compare builds; the one beside this program unless given.
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Vec<PathBuf>,
    /// A peer to measure, may be repeated; all that are installed unless given. `direct` alone measures no gateway but ours.
    ///
    /// direct, haproxy, haproxy-body, nginx, envoy, envoy-body, sglang-router, vllm-router, litellm, portkey, agentgateway, busbar
    #[arg(long, value_name = "PEER[=PROGRAM]")]
    pub(crate) peer: Vec<PeerOption>,
    /// A directory that peers are installed in, may be repeated: a Python virtual environment, or where `npm install` put node_modules.
    #[arg(long, value_name = "DIR")]
    pub(crate) peers_in: Vec<PathBuf>,
    /// A workload, may be repeated; all unless given.
    #[arg(long, value_name = "WORKLOAD", value_enum)]
    pub(crate) workload: Vec<Workload>,
    /// Directory for results, the gateways' configurations and their logs.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Date to put in the results.
    #[arg(long, value_name = "DATE", default_value = "undated")]
    pub(crate) date: String,
    /// First processor of the gateway, which has the next one too for `2-cores`; load and mock engine share the one after that, or the
    /// next one where there are two.
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub(crate) core: usize,
    /// One very short round, to see that everything works; the figures mean nothing.
    #[arg(long)]
    pub(crate) smoke: bool,
}

/// Measurements that are not of the gateway as a process.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compares endpoint pickers on simulated engines, in virtual time.
    Picker(PickerArgs),
    /// Compares endpoint pickers as processes, on simulated engines over real sockets.
    Sockets(SocketArgs),
}
