use clap::ValueEnum;

use super::*;
use crate::picker::{
    outcome::Objective,
    pickers::PickerKind,
    prompt::Segment,
    workload::{PickerWorkload, WorkloadScale},
};

const SCALE: WorkloadScale = WorkloadScale { seed: 3, replicas: 3, share: 0.002, ladder_output: 40 };

fn finish(run: &Run, kind: PickerKind, model: &EngineModel, seed: u64) -> RunResult {
    Simulation::new(run, model, SCALE.replicas, kind.start(Objective { ttft: 1.0, tpot: 1.0 }, 25, seed).unwrap(), seed).finish()
}

fn runs(workload: PickerWorkload) -> Vec<Run> {
    workload.scenario(&SCALE, None, |_| Ok(1.0)).unwrap().map_or(Vec::new(), |scenario| scenario.runs)
}

fn request(at: u64, prompt: &[(u64, u32)], output: Segment) -> RequestSpec {
    RequestSpec {
        start: RequestStart::At(Duration::from_millis(at)),
        stage: 0,
        prompt: prompt.iter().map(|&(id, tokens)| Segment { id, tokens }).collect(),
        output,
        adapter: None,
        max_tokens: None,
        priority: 0,
    }
}

/// 6 shared beginnings in turn, each of 4,000 tokens, with 500 that are new.
fn shared() -> Run {
    let request = |at: u64| {
        let tail = Segment { id: 1_000 + at, tokens: 20 };
        request(at * 150, &[(at * 7 % 6, 4_000), (100 + at, 500)], tail)
    };
    Run { loads: vec![1.0], requests: (0..120).map(request).collect(), ..Run::default() }
}

#[test]
fn every_request_ends_once_and_leaves_no_block_behind() {
    let small = EngineModel { kv_blocks: 1_500, host_blocks: 500, ..EngineModel::default() };
    for workload in PickerWorkload::value_variants() {
        for run in runs(*workload).iter().take(1) {
            for kind in PickerKind::value_variants() {
                let result = finish(run, *kind, &small, 1);
                let ended = result.outcomes.iter().filter(|outcome| outcome.failed || outcome.first.is_some());
                assert_eq!((ended.count(), result.held_blocks), (run.requests.len(), 0), "{workload:?} {kind:?}");
                assert!(result.outcomes.iter().all(|outcome| outcome.ended > outcome.started), "{workload:?} {kind:?}");
                let only_churn = result.outcomes.iter().all(|outcome| !outcome.failed) || !run.changes.is_empty();
                assert!(only_churn, "{workload:?} {kind:?}: without failures of replicas nothing fails");
            }
        }
    }
}

#[test]
fn equal_seeds_give_equal_results() {
    for workload in [PickerWorkload::Lora, PickerWorkload::Churn] {
        for kind in PickerKind::value_variants() {
            let run = &runs(workload)[0];
            let model = EngineModel::default();
            assert_eq!(finish(run, *kind, &model, 5), finish(run, *kind, &model, 5), "{workload:?} {kind:?}");
        }
    }
}

#[test]
fn a_request_alone_takes_two_hops_and_its_steps() {
    let model = EngineModel {
        overhead: 0.0,
        weights: 0.01,
        token: 0.001,
        attention_tokens: f64::INFINITY,
        context: 0.0,
        ..EngineModel::default()
    };
    let run = Run { requests: [request(100, &[(1, 50)], Segment { id: 9, tokens: 3 })].into(), ..Run::default() };
    let outcome = &finish(&run, PickerKind::Estimate, &model, 1).outcomes[0];
    let millis = |time: Duration| time.as_millis();
    assert_eq!((millis(outcome.started), outcome.first.map(millis), millis(outcome.ended)), (100, Some(151), 171));
}

#[test]
fn who_sees_everything_is_ahead_of_all() {
    let objective = Objective { ttft: 1.0, tpot: 1.0 };
    let run = shared();
    let ttft = |kind| finish(&run, kind, &EngineModel::default(), 1).whole(&run, objective).ttft_mean;
    let bound = ttft(PickerKind::Omniscient);
    for kind in PickerKind::value_variants() {
        assert!(bound <= ttft(*kind) * 1.001, "{kind:?}: {} < {bound}", ttft(*kind));
    }
    assert!(ttft(PickerKind::Estimate) < ttft(PickerKind::Load), "shared beginnings are found again");
}

#[test]
fn a_replica_that_dies_loses_streams_and_hands_on_the_rest() {
    let dies = (Duration::from_millis(1_020), 0, ReplicaChange::Dies);
    let request = |at: u64| request(at * 100, &[(at, 2_000)], Segment { id: 1_000 + at, tokens: 50 });
    let run = Run { requests: (0..40).map(request).collect(), changes: vec![dies], ..Run::default() };
    for kind in PickerKind::value_variants() {
        let outcomes = finish(&run, *kind, &EngineModel::default(), 1).outcomes;
        let failed = outcomes.iter().filter(|outcome| outcome.failed);
        assert!(failed.clone().all(|outcome| outcome.first.is_some() && outcome.started < dies.0), "{kind:?}");
        assert!(failed.count() < 10, "{kind:?}");
    }
}

#[test]
fn computing_again_is_told_from_what_another_replica_has() {
    let tail = |id| Segment { id, tokens: 2 };
    let requests =
        [request(0, &[(1, 160)], tail(11)), request(1_000, &[(1, 160)], tail(12)), request(2_000, &[(1, 160)], tail(13))];
    let run = Run { requests: requests.into(), ..Run::default() };
    let outcomes = finish(&run, PickerKind::RoundRobin, &EngineModel::default(), 1).outcomes;
    let figures: Vec<_> = outcomes.iter().map(|outcome| (outcome.hit, outcome.elsewhere, outcome.twice)).collect();
    assert_eq!(figures, [(0, 0, 0), (0, 144, 160), (0, 144, 160)]);
    let outcomes = finish(&run, PickerKind::Estimate, &EngineModel::default(), 1).outcomes;
    assert_eq!(outcomes.iter().map(|outcome| (outcome.hit, outcome.twice)).collect::<Vec<_>>(), [(0, 0), (144, 0), (144, 0)]);
}

#[test]
fn a_queue_serves_the_highest_priority_first_and_the_lowest_when_there_is_room() {
    let model = EngineModel { kv_blocks: 1_500, ..EngineModel::default() };
    let tail = |id: u64| Segment { id: 10_000 + id, tokens: 100 };
    let urgent = |id: u64| if id.is_multiple_of(10) { 1 } else { -1 };
    let request = |id: u64| RequestSpec { priority: urgent(id), ..request(id * 10, &[(1_000 + id, 2_000)], tail(id)) };
    let run = Run { requests: (0..400).map(request).collect(), ..Run::default() };
    let result = finish(&run, PickerKind::EstimateWithQueue, &model, 1);
    assert!(result.outcomes.iter().all(|outcome| !outcome.failed), "all are served in the end");
    let objective = Objective { ttft: 1.0, tpot: 1.0 };
    let ttft = |priority| result.of_priority(priority, 0, objective).ttft_p99;
    assert!(ttft(1) * 4.0 < ttft(-1), "{} {}", ttft(1), ttft(-1));
    assert_eq!(result.priorities(), [1, -1]);
}
