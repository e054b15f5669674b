//! Flags of the program's own log, on standard error.

use clap::ValueEnum;

/// Flags of the log.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// Log filter: off, error, warn, info, debug, trace, or directives such as `warn,pailou_proxy=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "PAILOU_LOG")]
    pub(crate) log: Option<String>,
    /// Form of the log on standard error.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t, env = "PAILOU_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
