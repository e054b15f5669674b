//! llm-d's published ladder (inference-perf, `shared_prefix`).

use super::{RequestSpec, RequestStart, Run, Source, WorkloadScale};
use crate::picker::prompt::Segment;

/// Requests a second and seconds of every stage; the first warms up.
const STAGES: [(u32, u32); 17] = [
    (15, 50),
    (3, 20),
    (10, 20),
    (15, 20),
    (20, 38),
    (22, 34),
    (25, 30),
    (30, 25),
    (35, 21),
    (40, 38),
    (43, 36),
    (46, 33),
    (49, 30),
    (52, 29),
    (55, 27),
    (57, 26),
    (60, 25),
];
const GROUPS: u64 = 150;
/// `num_prompts_per_group`.
const QUESTIONS: u64 = 5;
const SHARED_TOKENS: u32 = 6_000;
const QUESTION_TOKENS: u32 = 1_200;

pub(super) fn run(scale: &WorkloadScale) -> Run {
    let mut source = Source::new(scale.seed);
    let mut requests = Vec::new();
    let mut begins = 0.0;
    for (stage, (rate, seconds)) in STAGES.into_iter().enumerate() {
        source.now = begins;
        begins += f64::from(seconds) * scale.share;
        loop {
            let at = source.arrival(f64::from(rate));
            if at.as_secs_f64() > begins {
                break;
            }
            let group = source.random.u64(..GROUPS);
            let question = Segment { id: GROUPS + group * QUESTIONS + source.random.u64(..QUESTIONS), tokens: QUESTION_TOKENS };
            requests.push(RequestSpec {
                start: RequestStart::At(at),
                stage,
                prompt: vec![Segment { id: group, tokens: SHARED_TOKENS }, question],
                output: source.fresh(scale.ladder_output),
                adapter: None,
                max_tokens: Some(scale.ladder_output),
                priority: 0,
            });
        }
    }
    let loads = STAGES.iter().map(|(rate, _)| f64::from(*rate)).collect();
    Run { loads, first_stage: 1, requests: requests.into(), ..Run::default() }
}
