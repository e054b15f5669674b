//! One turn: engines with empty caches, a setup's processes, a load, figures.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    client::{self, Answers},
    engines::Engines,
    load::{Arrivals, SocketWorkload},
    setup::{Programs, Setup},
    site::Site,
};
use crate::{cpu, error::Error, process::Process, stats::quantile};

/// Time for processes to answer their first request.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(20);
/// Pause between a gateway's first answer and the load: metrics of engines are read, their events followed.
const SETTLE: Duration = Duration::from_secs(1);

/// Settings that all turns share.
pub(super) struct Conditions<'a> {
    pub(super) programs: &'a Programs,
    pub(super) engines: u16,
    pub(super) directory: &'a Path,
    /// The gateway's and picker's core, when processes can be pinned.
    pub(super) core: Option<usize>,
    pub(super) seed: u64,
    /// Load that is not measured, and load that is.
    pub(super) warm_up: Duration,
    pub(super) length: Duration,
}

/// Figures of one turn.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SocketSample {
    pub(super) workload: SocketWorkload,
    pub(super) setup: &'static str,
    pub(super) round: u32,
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) requests: usize,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    /// Milliseconds to the first event.
    pub(super) ttft_mean_ms: f64,
    pub(super) ttft_p50_ms: f64,
    pub(super) ttft_p90_ms: f64,
    pub(super) ttft_p99_ms: f64,
    /// Share of prompt tokens that engines had cached.
    pub(super) hit_share: f64,
    /// Milliseconds of processor time a request, of gateway and picker.
    pub(super) cpu_ms: Option<f64>,
    /// Bytes in memory at the end, of gateway and picker.
    pub(super) resident: Option<u64>,
}

/// Measures a setup under a workload at one rate.
///
/// # Errors
/// A process does not start, or vanishes.
pub(super) async fn measure(
    conditions: &Conditions<'_>,
    setup: Setup,
    workload: SocketWorkload,
    rate: f64,
    round: u32,
) -> Result<SocketSample, Error> {
    let shape = workload.shape();
    let observe = |source| Error::Observe { name: setup.title().to_owned(), source };
    let site = Site::new(conditions.engines, conditions.directory, setup.is_exact(), setup.has_external_picker());
    let site = site.map_err(observe)?;
    let engines = Engines::start(&conditions.programs.pailou, &site, &shape)?;
    let mut arrivals = Arrivals::new(&shape, rate, conditions.seed + u64::from(round));
    let (_, first) = arrivals.take();
    for engine in engines.addresses() {
        ready(*engine, &first).await.map_err(|source| not_ready(setup, source, &site.directory, "engine-0"))?;
    }
    let mut processes = Vec::new();
    for (name, command) in setup.commands(conditions.programs, &site)? {
        let cores: Vec<usize> = conditions.core.into_iter().collect();
        let process = Process::spawn(command, &site.directory.join(format!("log-{name}")), &cores);
        processes.push(process.map_err(|source| Error::Start { name: name.to_owned(), source })?);
    }
    let targets = if processes.is_empty() { engines.addresses().to_vec() } else { vec![site.gateway] };
    ready(targets[0], &first).await.map_err(|source| not_ready(setup, source, &site.directory, "log-*"))?;
    sleep(SETTLE).await;

    let start = Instant::now();
    let (measured, end) = (start + conditions.warm_up, start + conditions.warm_up + conditions.length);
    let meter = async {
        sleep_until(measured).await;
        let before = (cpu_of(&processes)?, engines.counters().await?);
        sleep_until(end).await;
        Ok::<_, io::Error>((before, cpu_of(&processes)?, engines.counters().await?))
    };
    let (answers, metered) = tokio::join!(client::send(&targets, &mut arrivals, start, measured, end), meter);
    let ((cpu_before, before), cpu_after, after) = metered.map_err(observe)?;
    let requests = answers.first_event.len();
    let resident = processes.iter().map(|process| cpu::resident(process.id())).sum::<io::Result<u64>>().map_err(observe)?;
    let own = !processes.is_empty();
    Ok(SocketSample {
        hit_share: (after.hits - before.hits) / (after.queries - before.queries).max(1.0),
        cpu_ms: own.then(|| (cpu_after.saturating_sub(cpu_before)).as_secs_f64() * 1e3 / requests.max(1) as f64),
        resident: own.then_some(resident),
        ..latencies(answers, workload, setup, round, rate)
    })
}

fn latencies(mut answers: Answers, workload: SocketWorkload, setup: Setup, round: u32, rate: f64) -> SocketSample {
    let sorted = &mut answers.first_event;
    sorted.sort_unstable();
    let millis = |share| quantile(sorted, share).map_or(f64::NAN, |nanos| nanos as f64 / 1e6);
    SocketSample {
        workload,
        setup: setup.title(),
        round,
        rate,
        requests: sorted.len(),
        errors: answers.errors,
        ttft_mean_ms: sorted.iter().map(|nanos| *nanos as f64).sum::<f64>() / sorted.len() as f64 / 1e6,
        ttft_p50_ms: millis(0.5),
        ttft_p90_ms: millis(0.9),
        ttft_p99_ms: millis(0.99),
        first_error: answers.first_error,
        hit_share: f64::NAN,
        cpu_ms: None,
        resident: None,
    }
}

/// Waits until a target answers.
async fn ready(target: SocketAddr, request: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        match client::probe(target, request).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(RETRY).await,
        }
    }
}

fn not_ready(setup: Setup, source: io::Error, directory: &Path, log: &str) -> Error {
    Error::NotReady { name: setup.title().to_owned(), source, log: directory.join(log) }
}

/// Processor time of gateway and picker so far.
fn cpu_of(processes: &[Process]) -> io::Result<Duration> {
    processes.iter().map(|process| cpu::of_tree(process.id())).sum()
}
