//! A turn without load: time until the gateway answers, and its memory.

use std::{io, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    cpu,
    engine::Answer,
    error::Error,
    load::hold,
    process::Process,
    subject::Subject,
    turn::{Conditions, first_answer},
    workload::{Kind, Workload},
};

/// Time for what a gateway does after its first answer, or after the last of many streams was opened.
const SETTLE: Duration = Duration::from_millis(500);
/// Starts in a turn: so many, unless they took that long together.
const STARTS: usize = 5;
const STARTS_WITHIN: Duration = Duration::from_secs(2);

/// Results of one start.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Footprint {
    pub(crate) workload: Workload,
    pub(crate) subject: String,
    pub(crate) round: u32,
    /// Milliseconds from before the process's start until its first answer.
    pub(crate) start_ms: f64,
    /// Bytes in memory after that.
    pub(crate) idle_bytes: u64,
    /// Those of them that are no file's.
    pub(crate) anonymous_bytes: u64,
    /// Streams that were opened then, and bytes in memory with them.
    pub(crate) held: Option<Held>,
}

/// Open streams.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Held {
    pub(crate) streams: u32,
    pub(crate) bytes: u64,
}

impl Footprint {
    /// Bytes that each stream takes.
    pub(crate) fn bytes_per_stream(&self) -> Option<f64> {
        let held = self.held?;
        Some((held.bytes as f64 - self.idle_bytes as f64) / f64::from(held.streams))
    }
}

/// Measures one subject under a workload of starts or idle streams.
///
/// # Errors
/// When the subject does not start, vanishes, or does not take the streams.
pub(crate) async fn measure(
    conditions: &Conditions<'_>,
    subject: &Subject,
    workload: Workload,
    round: u32,
) -> Result<Vec<Footprint>, Error> {
    let started = Instant::now();
    let mut footprints = Vec::new();
    loop {
        footprints.push(once(conditions, subject, workload, round).await?);
        let idle = matches!(workload.shape().kind, Kind::Idle(_));
        if idle || conditions.smoke || footprints.len() == STARTS || started.elapsed() > STARTS_WITHIN {
            return Ok(footprints);
        }
    }
}

async fn once(conditions: &Conditions<'_>, subject: &Subject, workload: Workload, round: u32) -> Result<Footprint, Error> {
    let observe = |source| Error::Observe { name: subject.name.clone(), source };
    conditions.engine.set_answer(first_answer(workload));
    let (process, plan) = Process::start(subject, workload, conditions).await?;
    let Some(process) = process else { return Err(observe(io::Error::other("it has no process"))) };
    sleep(SETTLE).await;
    let mut footprint = Footprint {
        workload,
        subject: subject.name.clone(),
        round,
        start_ms: process.started_in.as_secs_f64() * 1e3,
        idle_bytes: cpu::resident(process.id()).map_err(observe)?,
        anonymous_bytes: cpu::anonymous(process.id()).map_err(observe)?,
        held: None,
    };
    if let Kind::Idle(streams) = conditions.shape(workload).kind {
        conditions.engine.set_answer(Answer::Silence);
        let _open = hold(&plan, streams).await.map_err(observe)?;
        sleep(SETTLE).await;
        footprint.held = Some(Held { streams, bytes: cpu::resident(process.id()).map_err(observe)? });
    }
    Ok(footprint)
}
