use proptest::prelude::*;

use super::*;

const LIMITS: Limits =
    Limits { block_size: 16, num_blocks: 256, max_num_seqs: 8, max_num_batched_tokens: 512, max_adapters: 1, max_waiting: 64 };

fn engine(limits: Limits) -> Engine {
    Engine::new(limits, CostModel { jitter: 0.0, ..CostModel::default() }, 1)
}

/// A request whose content is its `topic`: equal topics share all their blocks.
fn request(topic: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    let blocks = u64::from((prompt_tokens + output_tokens) / 16);
    Request {
        prompt_tokens,
        received_tokens: 0,
        output_tokens,
        block_hashes: (0..blocks).map(|i| topic << 32 | i).collect(),
        tokens: (0..prompt_tokens + output_tokens).collect(),
        cache_salt: None,
        adapter: None,
    }
}

/// Runs until nothing is left: engine time passed, and the progress of every step.
fn drain(engine: &mut Engine) -> (Duration, Vec<Progress>) {
    let (mut time, mut events) = (Duration::ZERO, Vec::new());
    for _ in 0..100_000 {
        let Some(step) = engine.begin_step() else { return (time, events) };
        time += step.duration;
        events.extend(engine.end_step(step));
    }
    panic!("the engine makes no progress");
}

fn run(engine: &mut Engine, request: Request) -> (Duration, Progress) {
    engine.submit(request).unwrap();
    let (time, events) = drain(engine);
    (time, *events.last().unwrap())
}

#[test]
fn prefix_hit_makes_prefill_shorter() {
    let mut engine = engine(LIMITS);
    let (cold, first) = run(&mut engine, request(1, 400, 1));
    let (warm, second) = run(&mut engine, request(1, 400, 1));
    assert_eq!((first.cached_tokens, second.cached_tokens), (0, 384));
    assert!(warm < cold / 2, "{warm:?} is not much shorter than {cold:?}");
}

#[test]
fn generated_tokens_are_cached_for_the_next_turn() {
    let mut engine = engine(LIMITS);
    run(&mut engine, request(1, 160, 160));
    let (_, next_turn) = run(&mut engine, request(1, 400, 1));
    // All but the last generated token went through the model, so all but the last block is full.
    assert_eq!(next_turn.cached_tokens, 304);
}

#[test]
fn an_identical_prompt_still_computes_its_last_token() {
    let mut engine = engine(LIMITS);
    run(&mut engine, request(1, 32, 1));
    assert_eq!(run(&mut engine, request(1, 32, 1)).1.cached_tokens, 16);
}

#[test]
fn least_recently_used_prefix_is_evicted() {
    let mut engine = engine(Limits { num_blocks: 50, ..LIMITS });
    run(&mut engine, request(1, 320, 1));
    run(&mut engine, request(2, 320, 1));
    run(&mut engine, request(1, 320, 1));
    run(&mut engine, request(3, 320, 1));
    assert_eq!(run(&mut engine, request(1, 320, 1)).1.cached_tokens, 304);
    assert!(run(&mut engine, request(2, 320, 1)).1.cached_tokens < 304);
}

#[test]
fn abort_frees_blocks_at_once() {
    let mut engine = engine(LIMITS);
    let running = engine.submit(request(1, 160, 100)).unwrap();
    let step = engine.begin_step().unwrap();
    assert!(engine.kv_usage() > 0.0);
    let waiting = engine.submit(request(2, 160, 100)).unwrap();
    assert!(engine.abort(running) && engine.abort(waiting));
    assert!(!engine.abort(running), "gone already");
    assert_eq!((engine.running(), engine.waiting(), engine.kv_usage()), (0, 0, 0.0));
    assert!(engine.end_step(step).is_empty());
    assert!(engine.begin_step().is_none());
}

#[test]
fn the_youngest_is_preempted_when_blocks_run_out_and_still_finishes() {
    let mut engine = engine(Limits { num_blocks: 7, ..LIMITS });
    for topic in 1..=3 {
        engine.submit(request(topic, 32, 64)).unwrap();
    }
    let (_, events) = drain(&mut engine);
    let finished: Vec<_> = events.iter().filter(|p| p.finished).collect();
    assert!(engine.totals().preemptions > 0);
    assert_eq!(finished.len(), 3);
    assert!(finished.iter().all(|p| p.generated == 64));
    assert_eq!(finished[0].id, RequestId(0), "the oldest is not preempted");
    assert_eq!(engine.kv_usage(), 0.0);
}

#[test]
fn steps_are_deterministic_by_seed() {
    let trace = |seed| {
        let mut engine = Engine::new(LIMITS, CostModel::default(), seed);
        for topic in 0..20 {
            engine.submit(request(topic % 3, 40 + topic as u32, 30)).unwrap();
        }
        drain(&mut engine)
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7).0, trace(8).0);
}

#[test]
fn batching_beats_one_after_the_other() {
    let mut batched = engine(LIMITS);
    for topic in 0..8 {
        batched.submit(request(topic, 32, 50)).unwrap();
    }
    let (together, _) = drain(&mut batched);
    let mut serial = engine(LIMITS);
    let apart: Duration = (0..8).map(|topic| run(&mut serial, request(topic, 32, 50)).0).sum();
    assert!(together * 4 < apart, "{together:?} against {apart:?}");
}

#[test]
fn the_queue_grows_when_saturated_and_refuses_beyond_its_bound() {
    let mut engine = engine(LIMITS);
    for topic in 0..30 {
        engine.submit(request(topic, 16, 100)).unwrap();
    }
    let step = engine.begin_step().unwrap();
    assert_eq!((engine.running(), engine.waiting()), (8, 22));
    engine.end_step(step);
    for topic in 0..42 {
        engine.submit(request(topic, 16, 100)).unwrap();
    }
    assert_eq!(engine.submit(request(1, 16, 100)), Err(SubmitError::QueueFull));
}

#[test]
fn a_long_prompt_is_computed_in_chunks_beside_decodes() {
    let mut engine = engine(Limits { max_num_batched_tokens: 64, ..LIMITS });
    let short = engine.submit(request(1, 16, 20)).unwrap();
    let long = engine.submit(request(2, 320, 1)).unwrap();
    let (_, events) = drain(&mut engine);
    let before_long = events.iter().take_while(|p| p.id != long).filter(|p| p.id == short).count();
    assert!((5..=6).contains(&before_long), "{before_long} tokens came while the long prompt was read");
}

#[test]
fn an_adapter_without_room_waits_and_lets_others_pass() {
    let mut engine = engine(LIMITS);
    for adapter in [Some("a"), Some("b"), None] {
        engine.submit(Request { adapter: adapter.map(Arc::from), ..request(1, 16, 4) }).unwrap();
    }
    let step = engine.begin_step().unwrap();
    assert_eq!((engine.running(), engine.waiting()), (2, 1));
    assert_eq!(engine.adapters(), (vec![Arc::from("a")], vec![Arc::from("b")]));
    engine.end_step(step);
    assert_eq!(drain(&mut engine).1.iter().filter(|p| p.finished).count(), 3);
}

#[test]
fn what_can_never_fit_is_refused() {
    let mut engine = engine(LIMITS);
    assert_eq!(engine.submit(request(1, 16 * 256, 1)), Err(SubmitError::TooLong));
    assert!(engine.submit(request(1, 16 * 256 - 1, 1)).is_ok());
}

#[test]
fn a_request_without_output_finishes_with_its_prefill() {
    let mut engine = engine(LIMITS);
    let (_, end) = run(&mut engine, request(1, 20, 0));
    assert!(end.finished);
    assert_eq!(end.generated, 0);
}

/// Actions of clients and of the clock.
#[derive(Clone, Debug)]
enum Operation {
    Submit { topic: u64, prompt_tokens: u32, output_tokens: u32, adapter: Option<u8> },
    Abort(usize),
    Step,
}

fn operation() -> impl Strategy<Value = Operation> {
    let submit = (0u64..4, 0u32..200, 0u32..60, proptest::option::of(0u8..3));
    prop_oneof![
        3 => submit.prop_map(|(topic, prompt_tokens, output_tokens, adapter)| {
            Operation::Submit { topic, prompt_tokens, output_tokens, adapter }
        }),
        1 => (0usize..32).prop_map(Operation::Abort),
        6 => Just(Operation::Step),
    ]
}

/// Applies an event as a subscriber does.
fn follow(told: &mut std::collections::BTreeSet<u64>, event: BlockEvent) {
    match event {
        // The parent may be gone: of two equal blocks one is findable, and the other's request goes on when that one is evicted.
        BlockEvent::Stored { hashes, tokens, .. } => {
            assert_eq!(tokens.len(), hashes.len() * 16);
            hashes.into_iter().for_each(|hash| assert!(told.insert(hash), "stored twice"));
        }
        BlockEvent::Offloaded { .. } => {}
        BlockEvent::Removed { hashes, .. } => hashes.iter().for_each(|hash| assert!(told.remove(hash), "removed twice")),
        BlockEvent::Cleared => told.clear(),
    }
}

#[test]
fn events_name_the_tokens_of_blocks_and_a_reset_ends_them() {
    let mut engine = engine(LIMITS);
    engine.note_block_events();
    let salted = Request { cache_salt: Some(Arc::from("tenant")), adapter: Some(Arc::from("tuned")), ..request(1, 40, 1) };
    run(&mut engine, salted.clone());
    run(&mut engine, Request { block_hashes: vec![1 << 32, 1 << 32 | 1, 9], ..salted });
    let events = engine.take_block_events();
    let [BlockEvent::Stored { hashes, parent: None, tokens, adapter, cache_salt: Some(_) }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&hashes[..], tokens.len(), adapter.as_deref()), (&[1 << 32, 1 << 32 | 1][..], 32, Some("tuned")));
    engine.submit(request(2, 16, 1)).unwrap();
    let step = engine.begin_step().unwrap();
    assert!(!engine.reset_cache(), "a request holds a block");
    engine.end_step(step);
    assert!(engine.reset_cache());
    assert_eq!(engine.take_block_events().last(), Some(&BlockEvent::Cleared));
    assert_eq!(run(&mut engine, request(1, 40, 1)).1.cached_tokens, 0);
}

proptest! {
    #[test]
    fn whatever_happens_every_request_ends_once_all_blocks_come_back_and_events_tell_the_cache(
        operations in proptest::collection::vec(operation(), 0..120),
        num_blocks in 17u32..40,
        max_num_batched_tokens in 1u32..100,
    ) {
        let mut engine = engine(Limits { num_blocks, max_num_batched_tokens, ..LIMITS });
        engine.note_block_events();
        let mut told = std::collections::BTreeSet::new();
        let mut open = std::collections::BTreeMap::new();
        let mut ids = Vec::new();
        let mut events = Vec::new();
        for operation in operations {
            match operation {
                Operation::Submit { topic, prompt_tokens, output_tokens, adapter } => {
                    let adapter = adapter.map(|name| Arc::from(name.to_string()));
                    let request = Request { adapter, ..request(topic, prompt_tokens, output_tokens) };
                    if let Ok(id) = engine.submit(request) {
                        open.insert(id, output_tokens);
                        ids.push(id);
                    }
                }
                Operation::Abort(index) => {
                    if let Some(id) = ids.get(index) && engine.abort(*id) {
                        open.remove(id);
                    }
                }
                Operation::Step => {
                    if let Some(step) = engine.begin_step() {
                        events.extend(engine.end_step(step));
                    }
                }
            }
            prop_assert!(engine.kv_usage() <= 1.0 && engine.running() <= 8);
            engine.take_block_events().into_iter().for_each(|event| follow(&mut told, event));
            prop_assert_eq!(&told, &engine.blocks.findable());
        }
        events.extend(drain(&mut engine).1);
        for end in events.iter().filter(|event| event.finished) {
            prop_assert_eq!(open.remove(&end.id), Some(end.generated));
        }
        prop_assert!(open.is_empty(), "never finished: {:?}", open);
        prop_assert_eq!(engine.kv_usage(), 0.0);
    }
}

#[test]
fn a_prefix_that_has_left_the_gpu_comes_back_from_the_cpu() {
    let mut engine = Engine::new(Limits { num_blocks: 7, ..LIMITS }, CostModel::instant(), 1);
    engine.offload(OffloadLimits { cpu_blocks: 64, disk_blocks: 0, load_us_per_token: 1000.0 });
    engine.note_block_events();
    let mut run = |topic| {
        let (time, progress) = run(&mut engine, request(topic, 96, 1));
        (progress.cached_tokens, time)
    };
    assert_eq!(run(1), (0, Duration::ZERO));
    assert_eq!(run(2), (0, Duration::ZERO));
    // The GPU has the first block still, 4 come back, and the last one is computed anew.
    assert_eq!(run(1), (80, Duration::from_millis(64)));
    let events = engine.take_block_events();
    assert!(events.iter().any(|event| matches!(event, BlockEvent::Removed { tier: Tier::Gpu, .. })));
    assert!(events.contains(&BlockEvent::Offloaded { hash: 1 << 32 | 5, tier: Tier::Cpu }));
}
