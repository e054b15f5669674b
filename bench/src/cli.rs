//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::workload::Workload;

/// Measures a gateway's processor time and latency beside its peers', in the same run.
#[derive(Debug, Parser)]
#[command(name = "pailou-bench", version)]
pub(crate) struct Cli {
    /// Rounds; in each, every gateway has its turn at every workload.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Seconds that are measured, in each phase of a turn.
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// A `pailou` to measure, may be repeated to compare builds; the one beside this program unless given.
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Vec<PathBuf>,
    /// A peer to measure, may be repeated; all that are installed unless given. `direct` alone measures no gateway at all.
    #[arg(long, value_name = "PEER", value_enum)]
    pub(crate) peer: Vec<PeerName>,
    /// A workload, may be repeated; all unless given.
    #[arg(long, value_name = "WORKLOAD", value_enum)]
    pub(crate) workload: Vec<Workload>,
    /// Where results, the gateways' configurations and their logs go.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Date to put in the results.
    #[arg(long, value_name = "DATE", default_value = "undated")]
    pub(crate) date: String,
    /// Processor of the gateway; the load and the mock engine share the next one.
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub(crate) core: usize,
    /// One round of one second, to see that everything works; the figures mean nothing.
    #[arg(long)]
    pub(crate) smoke: bool,
}

/// What a gateway can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeerName {
    /// Nothing: the load goes to the engine. Always measured, as what latencies are compared with.
    Direct,
    /// haproxy that reads no bodies: what others are compared with.
    Haproxy,
    /// haproxy that routes by the model in the body, up to 32 KiB.
    HaproxyBody,
    /// nginx that reads no bodies.
    Nginx,
}
