//! Errors of a measurement.

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
        /// Error of the last try.
        source: io::Error,
        /// Its output.
        log: PathBuf,
    },
    /// A peer asked for is not installed.
    #[error("{title} is not installed: {install}")]
    NotInstalled {
        /// The peer.
        title: &'static str,
        /// How to get it.
        install: &'static str,
    },
    /// A gateway cannot be watched while it is measured.
    #[error("cannot observe {name}: {source}")]
    Observe {
        /// The gateway.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A signal ended the measurement.
    #[error("ended by a signal; what was started has ended too")]
    Interrupted,
    /// There are no certificates.
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    /// TLS cannot be set up with them.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// There are no tokens.
    #[error("cannot make tokens: {0}")]
    Tokens(io::Error),
    /// The limits of this process cannot be read.
    #[error("cannot read the limit of open files: {0}")]
    Limits(io::Error),
    /// The engine cannot listen.
    #[error("cannot start the mock engine: {0}")]
    Engine(io::Error),
    /// The conversations are asked for without their trace.
    #[error("--workload conversation: no trace; give the path of conversation_trace.jsonl with --trace")]
    NoTrace,
    /// The trace cannot be read.
    #[error("--trace {}: {source}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A result or configuration cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
