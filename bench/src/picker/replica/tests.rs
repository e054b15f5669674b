use super::*;
use crate::picker::prompt::{Segment, blocks};

/// 10 ms a step, 0.1 ms a token beyond 100, nothing else.
fn model() -> EngineModel {
    EngineModel {
        kv_blocks: 100,
        step_tokens: 256,
        slots: 4,
        adapters: 1,
        overhead: 0.0,
        weights: 0.01,
        token: 0.0001,
        attention_tokens: f64::INFINITY,
        context: 0.0,
        ..EngineModel::default()
    }
}

fn replica(model: &EngineModel) -> Replica {
    let mut replica = Replica::new(model);
    replica.start(Duration::ZERO);
    replica
}

fn sequence(id: usize, prompt: &[(u64, u32)], output: u32) -> Sequence {
    let prompt = prompt.iter().map(|&(id, tokens)| Segment { id, tokens });
    let tokens = prompt.clone().map(|segment| segment.tokens).sum();
    let output_segment = Segment { id: 1_000 + id as u64, tokens: output };
    Sequence::new(id, blocks(prompt.chain([output_segment]), None, BLOCK_TOKENS).into(), tokens, output, None)
}

/// Runs it dry; for each request the end of its first and last token in ms.
fn run(replica: &mut Replica) -> Vec<(usize, u128, u128)> {
    let mut now = Duration::ZERO;
    let mut firsts = Vec::new();
    let mut ends = Vec::new();
    while let Some((end, _)) = replica.begin_step(now) {
        assert!(end > now);
        now = end;
        let result = replica.end_step();
        firsts.extend(result.first_tokens.iter().map(|id| (*id, now.as_millis())));
        ends.extend(result.finished.iter().map(|id| (*id, now.as_millis())));
    }
    ends.sort_unstable();
    let first = |id| firsts.iter().find(|(first, _)| *first == id).map(|(_, at)| *at).unwrap();
    ends.into_iter().map(|(id, end)| (id, first(id), end)).collect()
}

#[test]
fn a_prompt_comes_in_chunks_and_then_a_token_a_step() {
    let mut replica = replica(&model());
    replica.waiting.push_back(sequence(0, &[(1, 300)], 3));
    // 256 tokens take 25.6 ms, the other 44 a step of 10, and two further tokens one each.
    assert_eq!(run(&mut replica), [(0, 35, 55)]);
    assert_eq!(replica.kv().used(), 0);
}

#[test]
fn prompts_share_a_step_with_those_that_generate() {
    let mut replica = replica(&model());
    replica.waiting.push_back(sequence(0, &[(1, 50)], 3));
    replica.waiting.push_back(sequence(1, &[(2, 250)], 2));
    // The second gets 206 tokens beside the first's 50, then 44 beside a token of the first.
    assert_eq!(run(&mut replica), [(0, 25, 45), (1, 35, 45)]);
}

#[test]
fn what_is_cached_is_not_computed_but_for_the_last_block() {
    let mut replica = replica(&model());
    replica.waiting.push_back(sequence(0, &[(1, 160)], 1));
    run(&mut replica);
    replica.waiting.push_back(sequence(1, &[(1, 160)], 1));
    let (_, admissions) = replica.begin_step(Duration::ZERO).unwrap();
    assert_eq!(admissions, [Admission { id: 1, hit_tokens: 144 }]);
    replica.end_step();
    // Requests of one step find what it is about to compute.
    replica.waiting.push_back(sequence(2, &[(5, 64), (6, 16)], 1));
    replica.waiting.push_back(sequence(3, &[(5, 64), (7, 16)], 1));
    let (_, admissions) = replica.begin_step(Duration::ZERO).unwrap();
    assert_eq!(admissions.iter().map(|admission| admission.hit_tokens).collect::<Vec<_>>(), [0, 64]);
}

#[test]
fn a_full_cache_preempts_the_last_and_leaks_nothing() {
    let model = EngineModel { kv_blocks: 12, ..model() };
    let mut replica = replica(&model);
    replica.waiting.extend((0..3).map(|id| sequence(id, &[(id as u64, 48)], 60)));
    let ends = run(&mut replica);
    assert_eq!(ends.len(), 3);
    assert!(ends[2].2 > ends[0].2, "the last made room: {ends:?}");
    assert_eq!((replica.kv().used(), replica.requests()), (0, 0));
}

#[test]
fn an_adapter_waits_until_one_in_use_ends() {
    let mut replica = replica(&model());
    for (id, adapter) in [(0, 1), (1, 2), (2, 1)] {
        let mut sequence = sequence(id, &[(id as u64, 20)], 2);
        sequence.adapter = Some(adapter);
        replica.waiting.push_back(sequence);
    }
    let (_, admissions) = replica.begin_step(Duration::ZERO).unwrap();
    assert_eq!(admissions.iter().map(|admission| admission.id).collect::<Vec<_>>(), [0, 2]);
    replica.end_step();
    assert!(replica.stats().page().contains("running_lora_adapters=\"adapter-1\",waiting_lora_adapters=\"adapter-2\""));
    while replica.begin_step(Duration::ZERO).is_some() {
        replica.end_step();
    }
    assert_eq!((replica.requests(), replica.has_adapter(2)), (0, true));
}

#[test]
fn a_process_that_ends_loses_requests_and_cache() {
    let mut replica = replica(&model());
    replica.waiting.push_back(sequence(0, &[(1, 300)], 3));
    replica.begin_step(Duration::ZERO).unwrap();
    assert_eq!(replica.kill(), [0]);
    assert_eq!(replica.begin_step(Duration::ZERO), None);
    replica.start(Duration::from_secs(9));
    assert_eq!((replica.kv().used(), replica.life().number), (0, 2));
    replica.waiting.push_back(sequence(1, &[(1, 300)], 3));
    let (end, admissions) = replica.begin_step(Duration::from_secs(9)).unwrap();
    assert_eq!((end.as_millis(), admissions[0].hit_tokens), (9_025, 0));
}
