//! The signals that end the program.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Error;

/// SIGINT and SIGTERM, from the moment this exists.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over.
    pub(crate) fn new() -> Result<Self, Error> {
        let take = |kind| signal(kind).map_err(|source| Error::Start { what: "the signal handler", source });
        Ok(Self { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())? })
    }

    /// The next one's name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
