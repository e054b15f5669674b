//! Tokio runtimes.

use std::num::NonZero;

use tokio::runtime::{Builder, Runtime};

use crate::exit::Error;

/// A runtime on the calling thread, for what only watches over others: signals, the admin endpoint.
pub(crate) fn one_thread() -> Result<Runtime, Error> {
    build(&mut Builder::new_current_thread())
}

/// A runtime with a thread for each processor.
pub(crate) fn many_threads() -> Result<Runtime, Error> {
    build(&mut Builder::new_multi_thread())
}

/// How many threads the machine runs at the same time.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn build(builder: &mut Builder) -> Result<Runtime, Error> {
    builder.enable_all().build().map_err(|source| Error::Start { what: "the runtime", source })
}
