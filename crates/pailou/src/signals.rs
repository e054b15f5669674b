//! Signals: those that end the program, and those by which other programs ask it to open its log file again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{exit::Error, log_file::LogFile};

/// SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2, from the moment this exists. The last three would end the process otherwise.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    log_file: Option<LogFile>,
}

impl Signals {
    /// Takes the signals over. SIGHUP and SIGUSR1 open `log_file` again.
    pub(crate) fn new(log_file: Option<LogFile>) -> Result<Self, Error> {
        let take = |kind| signal(kind).map_err(|source| Error::Start { what: "the signal handler", source });
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hangup: take(SignalKind::hangup())?,
            user1: take(SignalKind::user_defined1())?,
            user2: take(SignalKind::user_defined2())?,
            log_file,
        })
    }

    /// The name of the next signal that is to end the program. Acts on the others meanwhile.
    pub(crate) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hangup.recv() => self.reopen("SIGHUP"),
                _ = self.user1.recv() => self.reopen("SIGUSR1"),
                _ = self.user2.recv() => tracing::info!("SIGUSR2: nothing to do"),
            }
        }
    }

    fn reopen(&self, signal: &str) {
        let Some(log_file) = &self.log_file else {
            return tracing::info!("{signal}: no log file to open again; configuration is followed without a signal");
        };
        let path = log_file.path().display();
        match log_file.reopen() {
            Ok(()) => tracing::info!("{signal}: opened {path} again"),
            Err(error) => tracing::error!(%error, "{signal}: cannot open {path} again; lines go to the former file"),
        }
    }
}
