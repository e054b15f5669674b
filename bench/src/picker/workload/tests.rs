use std::{env, fs};

use super::*;
use crate::picker::prompt;

const SCALE: WorkloadScale = WorkloadScale { seed: 7, replicas: 8, share: 1.0, ladder_output: 1_000 };

#[test]
fn the_ladder_is_as_published() {
    let run = ladder::run(&SCALE);
    assert!((16_500..17_700).contains(&run.requests.len()), "{}", run.requests.len());
    assert!(run.requests.iter().all(|request| prompt::tokens(&request.prompt) == 7_200));
    let mut prompts: Vec<_> = run.requests.iter().map(|request| request.prompt[1].id).collect();
    prompts.sort_unstable();
    prompts.dedup();
    assert_eq!((prompts.len(), prompts[0]), (750, 150));
}

#[test]
fn a_trace_runs_at_shares_of_the_capacity() {
    let path = env::temp_dir().join(format!("pailou-bench-trace-{}.jsonl", std::process::id()));
    let line =
        |at, input, ids| format!("{{\"timestamp\": {at}, \"input_length\": {input}, \"output_length\": 5, \"hash_ids\": {ids}}}\n");
    fs::write(&path, line(0, 600, "[1, 2]") + &line(2_000, 512, "[1]")).unwrap();
    let runs = conversation::runs(&path, &SCALE, |full| {
        assert_eq!((full.requests.len(), full.closed), (2, Some(192)));
        Ok(2.0)
    });
    fs::remove_file(&path).unwrap();
    let runs = runs.unwrap();
    // Two requests in 2 s are half the capacity.
    assert_eq!(runs[0].requests[1].start, RequestStart::At(Duration::from_secs(2)));
    assert_eq!(runs[2].requests[1].start, RequestStart::At(Duration::from_secs(1)));
    assert_eq!(runs[0].requests[0].prompt, [Segment { id: 1, tokens: 512 }, Segment { id: 2, tokens: 88 }]);
}

#[test]
fn equal_seeds_are_equal_requests() {
    let starts = |seed| {
        let runs = shapes::agents(&WorkloadScale { seed, share: 0.01, ..SCALE });
        runs[0].requests.iter().map(|request| request.start).collect::<Vec<_>>()
    };
    assert_eq!(starts(1), starts(1));
    assert_ne!(starts(1), starts(2));
}
