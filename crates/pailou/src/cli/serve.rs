//! Flags of `pailou serve`.

use std::path::PathBuf;

use pailou_proxy::dns::{OverrideError, Overrides};

use super::{AccessLog, ConfigArgs, Listen};

/// Flags of `pailou serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 after a signal and a drain, 2 for trouble (a port that is taken, say).")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Send connections for a host and port to this address, and port where it differs, as in curl; may be repeated.
    ///
    /// IPv6 addresses stand in brackets.
    #[arg(long = "resolve", value_name = "HOST:PORT:ADDRESS[:PORT]", value_parser = override_entry)]
    pub(crate) resolve: Vec<String>,
    /// Address of /healthz, /readyz, /metrics and /status, or `off`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: Listen,
    /// Socket by which a process started later with the same PATH takes this one's listening sockets over.
    ///
    /// The later one serves on them without a moment in which nobody listens; the former finishes what is under way and ends.
    #[arg(long, value_name = "PATH", env = "PAILOU_HANDOVER")]
    pub(crate) handover: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
}

/// How requests are served, which `serve` and `proxy` share.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServingArgs {
    /// Threads that serve requests; the number of processors unless given.
    #[arg(long, value_name = "N", env = "PAILOU_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Memory for request bodies, all together; requests beyond it are answered 503.
    #[arg(long, value_name = "MIB", default_value_t = 1024, env = "PAILOU_BODY_MEMORY", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) body_memory: u32,
    /// Seconds that requests in progress get to finish after a signal.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, env = "PAILOU_DRAIN")]
    pub(crate) drain: u32,
    /// Where a JSON line for every request goes: stdout, stderr, off, or a file to append to.
    #[arg(long, value_name = "WHERE", default_value = "stdout", env = "PAILOU_ACCESS_LOG")]
    pub(crate) access_log: AccessLog,
    /// Say in a response header why the gateway answered by itself.
    #[arg(long, env = "PAILOU_RESPONSE_FLAGS")]
    pub(crate) response_flags: bool,
}

/// The entry as it stands, once it is seen to be one: the proxy reads them all together.
fn override_entry(text: &str) -> Result<String, OverrideError> {
    text.parse::<Overrides>().map(|_| text.to_owned())
}
