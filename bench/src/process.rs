//! A gateway's process: started on its cores, waited for, killed in the end.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    cpu,
    error::Error,
    load::{Plan, probe},
    request::Request,
    subject::Subject,
    template::Site,
    turn::Conditions,
    workload::{Kind, Workload},
};

/// How long a gateway may take to answer its first request.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(1);
/// Connections beside those of the load: checks of health, probes.
const OTHER_CONNECTIONS: u32 = 32;

/// Time for a gateway to end: one built to be profiled writes its profile then.
const END_WITHIN: Duration = Duration::from_secs(2);
/// Pause between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A gateway that answers; when dropped, told to end and then killed with its children.
pub(crate) struct Process {
    child: Child,
    /// Time from before the process's start until its first answer.
    pub(crate) started_in: Duration,
}

impl Process {
    /// Starts a subject for a workload, pinned to cores if given, and waits until it answers. Returns the load's plan too; the
    /// process is `None` if there is nothing to start.
    ///
    /// # Errors
    /// It does not start, or does not answer in time.
    pub(crate) async fn start(
        subject: &Subject,
        workload: Workload,
        conditions: &Conditions<'_>,
    ) -> Result<(Option<Self>, Plan), Error> {
        let fail = |source| Error::Start { name: subject.name.clone(), source };
        let shape = conditions.shape(workload);
        let streams = if let Kind::Idle(streams) = shape.kind { streams } else { 1000 };
        let tokens = conditions.tokens.first(shape.setup.tokens() as usize).map_err(Error::Tokens)?;
        let key_set = if tokens.is_empty() { String::new() } else { conditions.tokens.key_set().map_err(Error::Tokens)? };
        let site = Site {
            address: free_address().map_err(fail)?,
            admin: free_address().map_err(fail)?,
            engine_port: conditions.engine.port(),
            directory: conditions.directory,
            setup: shape.setup,
            threads: shape.threads,
            connections: streams + OTHER_CONNECTIONS,
            certificates: &conditions.tls.certificates,
            key_set,
        };
        let command = subject.command(&site)?;
        let target = if command.is_some() { site.address } else { conditions.engine.address() };
        let requests = Request::of(&shape, &subject.headers(&site), &tokens);
        let plan = Plan::new(target, &shape, requests, conditions.tls.connector.clone());
        let Some(command) = command else { return Ok((None, plan)) };
        let log = conditions.directory.join("log");
        let started = Instant::now();
        let mut process = Self::spawn(command, &log, &conditions.cores(shape.threads)).map_err(fail)?;
        process.ready(&plan).await.map_err(|source| Error::NotReady { name: subject.name.clone(), source, log })?;
        process.started_in = started.elapsed();
        Ok((Some(process), plan))
    }

    /// Starts a command on these cores, or on any if there are none. Its standard error goes to the log.
    ///
    /// # Errors
    /// The command does not start, or the log cannot be written.
    pub(crate) fn spawn(command: Command, log: &Path, cores: &[usize]) -> io::Result<Self> {
        let output = File::create(log)?;
        let mut command = pinned(command, cores);
        let child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn()?;
        Ok(Self { child, started_in: Duration::ZERO })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    async fn ready(&mut self, plan: &Plan) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let error = match timeout(READY_WITHIN, probe(plan)).await? {
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
        // Its children are in its group, which bears its id. All may have ended by themselves.
        let _ = cpu::signal_group(self.id(), "TERM");
        let deadline = Instant::now() + END_WITHIN;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        let _ = cpu::signal_group(self.id(), "KILL");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command, on these cores. `taskset` replaces itself with it, so that the process id is the gateway's.
fn pinned(command: Command, cores: &[usize]) -> Command {
    if cores.is_empty() {
        return command;
    }
    let list: Vec<String> = cores.iter().map(usize::to_string).collect();
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", &list.join(",")]).arg(command.get_program()).args(command.get_args());
    pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    pinned
}

/// An address nobody listens on at the moment.
///
/// # Errors
/// When there is none.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
