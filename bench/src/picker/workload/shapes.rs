//! Traffic made up here: agents, adapters, bursts, replicas that come and go.

use std::time::Duration;

use super::{ReplicaChange, RequestSpec, RequestStart, Run, Source, WorkloadScale};
use crate::picker::{policy::ReplicaId, prompt::Segment};

/// Time from a replica's death to its removal from the pool, and from its start to its addition: a readiness probe's.
const NOTICE: f64 = 1.0;

/// Sessions of 12 turns; an agent's beginning is one of 8, and every turn repeats all before it.
pub(super) fn agents(scale: &WorkloadScale) -> Vec<Run> {
    [1.0, 2.0, 3.0].into_iter().map(|rate| sessions(scale, rate * scale.replicas as f64 / 8.0, rate)).collect()
}

fn sessions(scale: &WorkloadScale, rate: f64, load: f64) -> Run {
    let mut source = Source::new(scale.seed);
    let mut requests: Vec<RequestSpec> = Vec::new();
    for _ in 0..(500.0 * scale.share).ceil() as usize {
        let mut start = RequestStart::At(source.arrival(rate));
        let mut prompt = vec![Segment { id: source.random.u64(..8), tokens: 3_000 }, source.fresh(1_000)];
        for _ in 0..12 {
            let tokens = source.random.u32(100..400);
            let output = source.fresh(tokens);
            requests.push(RequestSpec {
                start,
                stage: 0,
                prompt: prompt.clone(),
                output,
                adapter: None,
                max_tokens: None,
                priority: 0,
            });
            let result = source.random.u32(200..2_000);
            prompt.extend([output, source.fresh(result)]);
            start = RequestStart::After(requests.len() - 1, Duration::from_secs_f64(source.exponential(3.0)));
        }
    }
    Run { loads: vec![load], requests: requests.into(), ..Run::default() }
}

/// 24 adapters, the second asked for half as often as the first, the third a third as often, and so on.
pub(super) fn lora(scale: &WorkloadScale) -> Vec<Run> {
    let run = |rate: f64| {
        let mut source = Source::new(scale.seed);
        let mut request = || {
            let adapter = zipf(&mut source.random, 24);
            let beginning = Segment { id: u64::from(adapter), tokens: 500 };
            RequestSpec {
                start: RequestStart::At(source.arrival(rate * scale.replicas as f64 / 8.0)),
                stage: 0,
                prompt: vec![beginning, source.fresh(1_000)],
                output: source.fresh(200),
                adapter: Some(adapter),
                max_tokens: Some(200),
                priority: 0,
            }
        };
        let requests: Vec<_> = (0..(5_000.0 * scale.share) as usize).map(|_| request()).collect();
        Run { loads: vec![rate], requests: requests.into(), ..Run::default() }
    };
    [20.0, 40.0, 60.0].map(run).into()
}

fn zipf(random: &mut fastrand::Rng, count: u16) -> u16 {
    let total: f64 = (1..=count).map(|rank| 1.0 / f64::from(rank)).sum();
    let mut left = random.f64() * total;
    (0..count)
        .find(|at| {
            left -= 1.0 / f64::from(at + 1);
            left < 0.0
        })
        .unwrap_or(0)
}

/// Every 10 s so many requests within 200 ms share 8,000 tokens that nobody has seen; 12 others a second share nothing.
pub(super) fn bursts(scale: &WorkloadScale) -> Vec<Run> {
    let run = |size: f64| {
        let mut source = Source::new(scale.seed);
        let seconds = 200.0 * scale.share;
        let mut requests = Vec::new();
        let mut push = |at: f64, prompt: Vec<Segment>, output: Segment| {
            let start = RequestStart::At(Duration::from_secs_f64(at));
            requests.push(RequestSpec { start, stage: 0, prompt, output, adapter: None, max_tokens: None, priority: 0 });
        };
        while source.now < seconds {
            let at = source.arrival(12.0 * scale.replicas as f64 / 8.0).as_secs_f64();
            push(at, vec![source.fresh(2_000)], source.fresh(200));
        }
        let mut begins = f64::min(5.0, seconds / 2.0);
        while begins < seconds {
            let shared = source.fresh(8_000);
            for _ in 0..size as usize {
                let at = begins + source.random.f64() * 0.2;
                push(at, vec![shared, source.fresh(300)], source.fresh(100));
            }
            begins += 10.0;
        }
        Run { loads: vec![size], requests: requests.into(), ..Run::default() }
    };
    [20.0, 40.0, 80.0].map(run).into()
}

/// 100 shared beginnings. The last replica dies and comes back, another restarts before the pool notices, a new one joins.
pub(super) fn churn(scale: &WorkloadScale) -> Vec<Run> {
    let run = |rate: f64| {
        let mut source = Source::new(scale.seed);
        let seconds = 300.0 * scale.share;
        let mut requests = Vec::new();
        loop {
            let at = source.arrival(rate * scale.replicas as f64 / 8.0);
            if at.as_secs_f64() > seconds {
                break;
            }
            let prompt = vec![Segment { id: source.random.u64(..100), tokens: 4_000 }, source.fresh(500)];
            let output = source.fresh(200);
            requests.push(RequestSpec {
                start: RequestStart::At(at),
                stage: 0,
                prompt,
                output,
                adapter: None,
                max_tokens: None,
                priority: 0,
            });
        }
        Run { loads: vec![rate], requests: requests.into(), changes: changes(scale.replicas, seconds), ..Run::default() }
    };
    [16.0, 24.0, 32.0].map(run).into()
}

fn changes(replicas: usize, seconds: f64) -> Vec<(Duration, ReplicaId, ReplicaChange)> {
    use ReplicaChange::{Dies, Joins, Leaves, Starts};
    let at = |share: f64, after: f64| Duration::from_secs_f64(seconds * share + after);
    let last = replicas - 1;
    vec![
        (at(0.2, 0.0), last, Dies),
        (at(0.2, NOTICE), last, Leaves),
        (at(0.35, 0.0), last, Starts),
        (at(0.35, NOTICE), last, Joins),
        (at(0.5, 0.0), 0, Dies),
        (at(0.5, 2.0), 0, Starts),
        (at(0.7, 0.0), replicas, Starts),
        (at(0.7, NOTICE), replicas, Joins),
    ]
}
