//! One turn: a fresh process of one subject under one workload.

use std::{path::Path, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    cpu,
    engine::{Answer, Engine},
    error::Error,
    load::{Load, Plan, Tally},
    process::Process,
    stats::quantile,
    subject::Subject,
    workload::{CHUNKS, Workload},
};

/// Load before anything is measured: connections are opened, caches and branch predictors warm.
const WARM_UP: Duration = Duration::from_millis(700);

/// Where and how long turns are measured.
#[derive(Debug)]
pub(crate) struct Conditions<'a> {
    /// Length of each phase.
    pub(crate) seconds: Duration,
    /// The gateway's core, when processes can be pinned.
    pub(crate) core: Option<usize>,
    /// Configurations and logs.
    pub(crate) directory: &'a Path,
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

/// What one phase showed.
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

/// What a gateway used in a phase.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Usage {
    /// Processor time in microseconds for a request, or for a chunk where answers are streams.
    pub(crate) cpu_us: f64,
    /// Share of its core.
    pub(crate) busy: f64,
    /// Share of its core that others took: what cannot be measured well.
    pub(crate) others: f64,
    /// Bytes in memory at the end.
    pub(crate) resident: u64,
}

/// Measures one subject under one workload.
///
/// # Errors
/// When the subject does not start, or vanishes.
pub(crate) async fn measure(
    conditions: &Conditions<'_>,
    engine: &Engine,
    subject: &Subject,
    workload: Workload,
    round: u32,
) -> Result<Vec<Sample>, Error> {
    let request = workload.request();
    engine.set_answer(Answer::Completion);
    let process = Process::start(subject, engine.port(), conditions.core, conditions.directory, &request).await?;
    // Streams start spread over the length of one, or all of them would start at once, again and again.
    let (answer, spread) = if workload.streams() {
        (Answer::Stream(workload.cadence()), workload.cadence() * CHUNKS)
    } else {
        (Answer::Completion, Duration::ZERO)
    };
    engine.set_answer(answer);
    let target = process.as_ref().map_or(engine.address(), |process| process.address);
    let load = Load::start(Plan { target, request: request.into(), connections: workload.connections(), spread });
    let mut samples = Vec::new();
    for phase in [Phase::Full, Phase::Paced] {
        if phase == Phase::Full && workload.streams() {
            continue;
        }
        load.set_rate(workload.rate().filter(|_| phase == Phase::Paced));
        sleep(WARM_UP + spread).await;
        let meter = Meter::start(process.as_ref(), conditions.core).map_err(|source| observe(subject, source))?;
        load.take();
        sleep(conditions.seconds).await;
        let tally = load.take();
        let units = if workload.streams() { tally.events } else { tally.requests };
        let (seconds, gateway) = meter.stop(units).map_err(|source| observe(subject, source))?;
        samples.push(sample(workload, subject, round, phase, tally, seconds, gateway));
    }
    Ok(samples)
}

fn observe(subject: &Subject, source: std::io::Error) -> Error {
    Error::Observe { name: subject.name.clone(), source }
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
    core: usize,
    started: Instant,
    process: Duration,
    all: Duration,
}

impl Meter {
    fn start(process: Option<&Process>, core: Option<usize>) -> std::io::Result<Self> {
        let (pid, core) = (process.map(Process::id), core.unwrap_or(0));
        let used = pid.map(cpu::of_process).transpose()?.unwrap_or_default();
        Ok(Self { pid, core, started: Instant::now(), process: used, all: cpu::of_core(core)? })
    }

    /// Seconds since the start, and what the gateway used in them for so many requests or chunks.
    fn stop(self, units: u64) -> std::io::Result<(f64, Option<Usage>)> {
        let seconds = self.started.elapsed().as_secs_f64();
        let Some(pid) = self.pid else { return Ok((seconds, None)) };
        let used = (cpu::of_process(pid)?.saturating_sub(self.process)).as_secs_f64();
        let all = (cpu::of_core(self.core)?.saturating_sub(self.all)).as_secs_f64();
        let usage = Usage {
            cpu_us: used * 1e6 / units as f64,
            busy: used / seconds,
            others: ((all - used) / seconds).max(0.0),
            resident: cpu::resident(pid)?,
        };
        Ok((seconds, Some(usage)))
    }
}
