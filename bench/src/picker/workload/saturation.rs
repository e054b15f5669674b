//! Three priorities: from half the cluster's capacity to twice it, and half again.

use std::time::Duration;

use super::{RequestSpec, RequestStart, Run, Source, WorkloadScale};
use crate::{error::Error, picker::prompt::Segment};

/// Shares of the capacity, and seconds of each; the last is when those that wait go.
const STAGES: [(f64, f64); 7] = [(0.5, 120.0), (0.8, 60.0), (1.0, 60.0), (1.2, 60.0), (1.5, 60.0), (2.0, 120.0), (0.5, 120.0)];
/// Priorities, and percent of the requests: the highest two fit at twice the capacity.
const PRIORITIES: [(i32, u32); 3] = [(1, 20), (0, 20), (-1, 60)];
/// Requests under way for each replica, and requests in all for each, while the capacity is measured.
const FULL: usize = 192;
const MEASURED: usize = 800;
/// Shared beginnings.
const GROUPS: u64 = 40;

pub(super) fn runs(scale: &WorkloadScale, capacity: impl FnOnce(&Run) -> Result<f64, Error>) -> Result<Vec<Run>, Error> {
    let mut source = Source::new(scale.seed);
    let measured = ((MEASURED * scale.replicas) as f64 * scale.share).ceil() as usize;
    let requests: Vec<_> = (0..measured).map(|_| request(&mut source, Duration::ZERO, 0)).collect();
    let full = Run { loads: vec![0.0], requests: requests.into(), closed: Some(FULL * scale.replicas), ..Run::default() };
    let most = capacity(&full)?;
    let mut source = Source::new(scale.seed);
    let mut requests = Vec::new();
    let mut begins = 0.0;
    for (stage, (load, seconds)) in STAGES.into_iter().enumerate() {
        source.now = begins;
        begins += seconds * scale.share;
        loop {
            let at = source.arrival(load * most);
            if at.as_secs_f64() > begins {
                break;
            }
            requests.push(request(&mut source, at, stage));
        }
    }
    let loads = STAGES.iter().map(|(load, _)| *load).collect();
    Ok(vec![Run { loads, requests: requests.into(), ..Run::default() }])
}

/// 1,500 tokens that others share, 200 to 800 that are new, 100 to 300 out.
fn request(source: &mut Source, at: Duration, stage: usize) -> RequestSpec {
    let shared = Segment { id: source.random.u64(..GROUPS), tokens: 1_500 };
    let (question, output) = (source.random.u32(200..800), source.random.u32(100..300));
    let mut percent = source.random.u32(..100);
    let is_it = |(_, share): &&(i32, u32)| {
        let is_it = percent < *share;
        percent = percent.saturating_sub(*share);
        is_it
    };
    let priority = PRIORITIES.iter().find(is_it).map_or(0, |(priority, _)| *priority);
    RequestSpec {
        start: RequestStart::At(at),
        stage,
        prompt: vec![shared, source.fresh(question)],
        output: source.fresh(output),
        adapter: None,
        max_tokens: None,
        priority,
    }
}
