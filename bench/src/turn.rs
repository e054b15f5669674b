//! One turn: a fresh process of one subject under one workload.

use std::{io, path::Path, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    cpu,
    engine::{Answer, Engine},
    error::Error,
    load::{Load, Tally},
    process::Process,
    stats::quantile,
    subject::Subject,
    tls::Tls,
    token::Tokens,
    workload::{Kind, Setup, Shape, Workload},
};

/// Interval of checks for a late answer.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time for a late answer.
const LATE_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Files that a gateway and this program have open beside connections, with some to spare.
const OTHER_FILES: u64 = 200;
/// Idle streams, and host names with routes or tokens, of a smoke test.
const SMOKE_STREAMS: u32 = 32;
const SMOKE_HOSTS: u32 = 10;
/// Time between two events of a smoke test's streams.
const SMOKE_CADENCE: Duration = Duration::from_millis(1);

/// Context of all turns.
pub(crate) struct Conditions<'a> {
    /// Length of each phase.
    pub(crate) length: Duration,
    /// Load before anything is measured: connections are opened, caches and branch predictors warm.
    pub(crate) warm_up: Duration,
    /// The gateway's first core, when processes can be pinned.
    pub(crate) core: Option<usize>,
    /// Files that a process may have open.
    pub(crate) open_files: u64,
    pub(crate) smoke: bool,
    /// Configurations and logs.
    pub(crate) directory: &'a Path,
    pub(crate) engine: &'a Engine,
    pub(crate) tls: &'a Tls,
    pub(crate) tokens: &'a Tokens,
}

/// How the load came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// At a rate that leaves the gateway idle most of the time, the same for all.
    Paced,
    /// Every connection sends as soon as it is answered.
    Full,
}

/// Results of one phase.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) workload: Workload,
    pub(crate) subject: String,
    pub(crate) round: u32,
    pub(crate) phase: Phase,
    pub(crate) seconds: f64,
    pub(crate) requests: u64,
    /// Server-sent events.
    pub(crate) chunks: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Microseconds to the end of the answer, or to the first chunk of a stream.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The gateway's own figures; none without a gateway.
    pub(crate) gateway: Option<Usage>,
}

/// Resources that a gateway used.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Usage {
    /// Microseconds of processor time for each request, or each chunk where answers are streams.
    pub(crate) cpu_us: f64,
    /// Processors' time in a second.
    pub(crate) busy: f64,
    /// Share of its first core that others took: what cannot be measured well. Nothing of what has more than one core.
    pub(crate) others: Option<f64>,
    /// Bytes in memory at the end.
    pub(crate) resident: u64,
}

impl Conditions<'_> {
    /// The cores of a gateway with so many threads; none if processes are not pinned.
    pub(crate) fn cores(&self, threads: u8) -> Vec<usize> {
        self.core.map_or_else(Vec::new, |core| (core..core + usize::from(threads)).collect())
    }

    /// A workload, cut to size: in a smoke test large numbers are small, and idle streams fit the limit of open files, of which
    /// each takes two of the gateway's and two of this program's.
    pub(crate) fn shape(&self, workload: Workload) -> Shape {
        let mut shape = workload.shape();
        if let Kind::Idle(streams) = &mut shape.kind {
            let possible = u32::try_from(self.open_files.saturating_sub(OTHER_FILES) / 2).unwrap_or(u32::MAX);
            *streams = possible.min(if self.smoke { SMOKE_STREAMS } else { *streams });
        }
        if self.smoke {
            shape.connections = shape.connections.min(SMOKE_STREAMS);
            if let Kind::Streams(cadence) = &mut shape.kind {
                *cadence = SMOKE_CADENCE;
            }
        }
        if let Setup::Routes(hosts) | Setup::Jwt(hosts) = &mut shape.setup {
            *hosts = (*hosts).min(if self.smoke { SMOKE_HOSTS } else { *hosts });
        }
        shape
    }
}

/// Measures one subject under one workload of requests or streams.
///
/// # Errors
/// When the subject does not start, or vanishes.
pub(crate) async fn measure(
    conditions: &Conditions<'_>,
    subject: &Subject,
    workload: Workload,
    round: u32,
) -> Result<Vec<Sample>, Error> {
    let observe = |source| Error::Observe { name: subject.name.clone(), source };
    conditions.engine.set_answer(first_answer(workload));
    let (process, plan) = Process::start(subject, workload, conditions).await?;
    let spread = plan.spread;
    let phases = match conditions.shape(workload).kind {
        Kind::Requests(rate) => vec![(Phase::Full, None), (Phase::Paced, Some(rate))],
        Kind::Streams(cadence) => {
            conditions.engine.set_answer(Answer::Stream(cadence));
            vec![(Phase::Paced, None)]
        }
        Kind::Idle(_) | Kind::Start | Kind::Cluster => Vec::new(),
    };
    let load = Load::start(plan);
    let mut samples = Vec::new();
    for (phase, rate) in phases {
        load.set_rate(rate);
        sleep(conditions.warm_up + spread).await;
        let meter = Meter::start(process.as_ref(), &conditions.cores(workload.shape().threads)).map_err(observe)?;
        load.take();
        sleep(conditions.length).await;
        wait_for_answer(&load, workload).await.map_err(observe)?;
        let tally = load.take();
        let units = if workload.streams() { tally.events } else { tally.requests };
        let (seconds, gateway) = meter.stop(units).map_err(observe)?;
        samples.push(sample(workload, subject, round, phase, tally, seconds, gateway));
    }
    Ok(samples)
}

/// Waits until there is something to divide by; most often there is.
async fn wait_for_answer(load: &Load, workload: Workload) -> io::Result<()> {
    let deadline = Instant::now() + LATE_ANSWER_TIMEOUT;
    while !load.answered(workload.streams()) {
        if Instant::now() > deadline {
            return Err(io::Error::other("nothing was answered"));
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// The request whose answer shows that a gateway is there: a stream if the workload streams, which some gateways insist on.
pub(crate) fn first_answer(workload: Workload) -> Answer {
    match workload.shape().kind {
        Kind::Streams(_) | Kind::Idle(_) => Answer::Stream(Duration::from_millis(1)),
        Kind::Requests(_) | Kind::Start | Kind::Cluster => Answer::Completion,
    }
}

fn sample(
    workload: Workload,
    subject: &Subject,
    round: u32,
    phase: Phase,
    mut tally: Tally,
    seconds: f64,
    gateway: Option<Usage>,
) -> Sample {
    tally.latencies.sort_unstable();
    let micros = |q| quantile(&tally.latencies, q).map_or(f64::NAN, |nanos| nanos as f64 / 1e3);
    Sample {
        workload,
        subject: subject.name.clone(),
        round,
        phase,
        seconds,
        requests: tally.requests,
        chunks: tally.events,
        errors: tally.errors,
        p50_us: micros(0.5),
        p99_us: micros(0.99),
        first_error: tally.first_error,
        gateway,
    }
}

/// Processor time between two points.
struct Meter {
    pid: Option<u32>,
    /// The gateway's core, if it has just one.
    core: Option<usize>,
    started: Instant,
    process: Duration,
    all: Duration,
}

impl Meter {
    fn start(process: Option<&Process>, cores: &[usize]) -> io::Result<Self> {
        let pid = process.map(Process::id);
        let core = if let [core] = cores { Some(*core) } else { None };
        let used = pid.map(cpu::of_tree).transpose()?.unwrap_or_default();
        let all = core.map(cpu::of_core).transpose()?.unwrap_or_default();
        Ok(Self { pid, core, started: Instant::now(), process: used, all })
    }

    /// Seconds since the start, and what the gateway used in them for so many requests or chunks.
    fn stop(self, units: u64) -> io::Result<(f64, Option<Usage>)> {
        let seconds = self.started.elapsed().as_secs_f64();
        let Some(pid) = self.pid else { return Ok((seconds, None)) };
        let used = (cpu::of_tree(pid)?.saturating_sub(self.process)).as_secs_f64();
        let all = self.core.map(cpu::of_core).transpose()?;
        let usage = Usage {
            cpu_us: used * 1e6 / units as f64,
            busy: used / seconds,
            others: all.map(|all| ((all.saturating_sub(self.all).as_secs_f64() - used) / seconds).max(0.0)),
            resident: cpu::resident(pid)?,
        };
        Ok((seconds, Some(usage)))
    }
}
