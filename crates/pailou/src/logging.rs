//! The program's own log: on standard error, always.

mod fields;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::{
    cli::{LogArgs, LogFormat},
    exit::Error,
};
use fields::PrintableFields;

/// Starts the log; `default` is the filter unless the user gave one.
pub(crate) fn start(args: &LogArgs, default: &str) -> Result<(), Error> {
    let filter = args.log.as_deref().unwrap_or(default);
    let parsed = EnvFilter::try_new(filter).map_err(|source| Error::LogFilter { filter: filter.to_owned(), source })?;
    // It shows the body of an answer that it cannot read, and a Secret may be in that.
    let parsed = parsed.add_directive("kube_client::client=off".parse().expect("it is a directive"));
    // It would tell of a standard error that nobody reads any more on standard error, and panic.
    let builder = tracing_subscriber::fmt().log_internal_errors(false);
    let builder = builder.with_env_filter(parsed).with_writer(io::stderr).with_target(false);
    match args.log_format {
        LogFormat::Text => builder.fmt_fields(PrintableFields).with_ansi(colour()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Colour only for a terminal whose user did not decline it (no-color.org).
fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
