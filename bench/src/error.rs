//! What can go wrong with a measurement.

use std::{io, path::PathBuf};

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A gateway's program cannot be started.
    #[error("cannot start {name}: {source}")]
    Start {
        /// The gateway.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A gateway was started and does not answer.
    #[error("{name} does not answer: {source}; its log is {}", log.display())]
    NotReady {
        /// The gateway.
        name: String,
        /// What the last try met.
        source: io::Error,
        /// What it wrote.
        log: PathBuf,
    },
    /// A program asked for is not installed.
    #[error("{program} is not installed")]
    NotInstalled {
        /// The program.
        program: &'static str,
    },
    /// A gateway cannot be watched while it is measured.
    #[error("cannot observe {name}: {source}")]
    Observe {
        /// The gateway.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The engine cannot listen.
    #[error("cannot start the mock engine: {0}")]
    Engine(io::Error),
    /// A result or configuration cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
