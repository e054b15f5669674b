//! Flags of `pailou top`.

use std::{net::SocketAddr, path::PathBuf};

use pailou_snapshot::Name;

use super::{ExplainFormat, proxy::gateway};

/// Flags of `pailou top`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: 1 to 6 or Tab another view, / filter, s and S sort, arrows or j and k move, Enter a receipt, ? help, q quit.\n\n\
    Exit status: 0, or 2 where the admin endpoint does not answer."
)]
pub(crate) struct TopArgs {
    /// Address of the admin endpoint of a gateway, a controller or a picker.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: SocketAddr,
    /// File with the admin endpoint's token.
    #[arg(long, value_name = "PATH", env = "PAILOU_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Only the proxies of this Gateway, where the endpoint is a controller's.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = gateway)]
    pub(crate) gateway: Option<Name>,
    /// Seconds between two looks, 1 to 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) interval: u64,
    /// Print once and end, with the rates of one interval.
    #[arg(long)]
    pub(crate) once: bool,
    /// Output format; json prints each sample of /overview, a line each unless --once is given.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: ExplainFormat,
}
