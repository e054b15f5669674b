//! A gateway's process: started on its core, waited for, killed in the end.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    error::Error,
    load::probe,
    subject::{Site, Subject},
};

/// How long a gateway may take to answer its first request.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(50);

/// A gateway that answers; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a subject, pinned to `core` if given, and waits until it answers; `None` where there is nothing to start.
    ///
    /// # Errors
    /// When it does not start, or does not answer in time.
    pub(crate) async fn start(
        subject: &Subject,
        engine_port: u16,
        core: Option<usize>,
        directory: &Path,
        request: &[u8],
    ) -> Result<Option<Self>, Error> {
        let fail = |source| Error::Start { name: subject.name.clone(), source };
        let site = Site { address: free_address().map_err(fail)?, admin: free_address().map_err(fail)?, engine_port, directory };
        let Some(command) = subject.command(&site)? else { return Ok(None) };
        let log = directory.join("log");
        let output = File::create(&log).map_err(|source| Error::Write { path: log.clone(), source })?;
        let child = pinned(command, core).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().map_err(fail)?;
        let mut process = Self { child, address: site.address };
        process.ready(request).await.map_err(|source| Error::NotReady { name: subject.name.clone(), source, log })?;
        Ok(Some(process))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    async fn ready(&mut self, request: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let error = match timeout(READY_WITHIN, probe(self.address, request)).await? {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(error);
            }
            sleep(RETRY).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command, on a core. `taskset` replaces itself with it, so that the process id is the gateway's.
fn pinned(command: Command, core: Option<usize>) -> Command {
    let Some(core) = core else { return command };
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", &core.to_string()]).arg(command.get_program()).args(command.get_args());
    pinned
}

/// An address nobody listens on at the moment.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
