//! Tokio runtimes.

use std::num::NonZero;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use crate::exit::Error;

/// A runtime on the calling thread, for what waits most of its time, or only watches over others: signals, the admin endpoint.
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

/// Raises the process's limit of open files and sockets to the highest allowed: the default is often far lower, for old
/// programs that cannot use more.
pub(crate) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn build(builder: &mut Builder) -> Result<Runtime, Error> {
    builder.enable_all().build().map_err(|source| Error::Start { what: "the runtime", source })
}
