//! Flags of `pailou limits`.

use std::{net::SocketAddr, path::PathBuf};

use pailou_snapshot::Name;

use super::{ListFormat, proxy::gateway};

/// Flags of `pailou limits`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0, or 2 where the admin endpoint does not answer.")]
pub(crate) struct LimitsArgs {
    /// Address of the admin endpoint of a gateway or a controller.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: SocketAddr,
    /// File with the admin endpoint's token.
    #[arg(long, value_name = "PATH", env = "PAILOU_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Only the proxies of this Gateway, where the endpoint is a controller's.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = gateway)]
    pub(crate) gateway: Option<Name>,
    /// Only rules whose name, NAMESPACE/POLICY/rule/NUMBER, contains this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) rule: Option<String>,
    /// Only clients whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) client: Option<String>,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: ListFormat,
}
