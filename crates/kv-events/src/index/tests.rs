mod faults;
mod model;

use rmpv::Value;

use super::*;
use crate::{
    decode::Batch,
    testing::{batch, removed, stored},
};

fn apply(index: &mut Index, publisher: PublisherId, events: Vec<Value>) -> ApplyOutcome {
    let payload = batch(events);
    let mut outcome = ApplyOutcome::Applied;
    for event in Batch::new(&payload).expect("a batch") {
        if index.apply(publisher, &event.expect("an event")) == ApplyOutcome::Reset {
            outcome = ApplyOutcome::Reset;
        }
    }
    outcome
}

/// An index with some publishers.
fn index<const N: usize>(max_records: u32) -> (Index, [PublisherId; N]) {
    let mut index = Index::new(7, max_records);
    let publishers = std::array::from_fn(|_| index.add_publisher().expect("room"));
    (index, publishers)
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).map(|token| token * 7919).collect()
}

/// BlockStored of a prompt's first blocks of 16; the hashes count from `first`.
fn prompt_stored(tokens: &[u32], first: u64, rest: &[(&str, Value)]) -> Value {
    let hashes: Vec<u64> = (first..first + tokens.len() as u64 / 16).collect();
    stored(&hashes, None, tokens, 16, rest)
}

fn cached(index: &Index, publisher: PublisherId, prompt: &[u32]) -> [u32; 3] {
    cached_with(index, publisher, &Prompt { tokens: prompt, ..Prompt::default() })
}

fn cached_with(index: &Index, publisher: PublisherId, prompt: &Prompt<'_>) -> [u32; 3] {
    index.cached_prefixes(prompt).into_iter().find(|prefix| prefix.publisher == publisher).map_or([0; 3], |prefix| prefix.tokens)
}

#[test]
fn a_run_ends_at_the_first_block_that_is_not_cached() {
    let (mut index, [one, other]) = index(1000);
    let prompt = tokens(100);
    apply(&mut index, one, vec![prompt_stored(&prompt[..96], 1, &[])]);
    apply(&mut index, other, vec![prompt_stored(&prompt[..96], 1, &[]), removed(&[3], &[])]);
    assert_eq!((cached(&index, one, &prompt), cached(&index, other, &prompt)), ([96, 0, 0], [32, 0, 0]));
    let changed: Vec<u32> = prompt.iter().enumerate().map(|(at, token)| if at == 40 { 1 } else { *token }).collect();
    assert_eq!(cached(&index, one, &changed), [32, 0, 0]);
}

#[test]
fn the_last_token_is_never_cached() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(64);
    apply(&mut index, one, vec![prompt_stored(&prompt, 1, &[])]);
    assert_eq!(cached(&index, one, &prompt), [48, 0, 0]);
}

#[test]
fn blocks_count_in_their_fastest_tier() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(65);
    let (cpu, disk) = (("medium", Value::from("CPU")), ("medium", Value::from("SSD")));
    let known = |hashes: &[u64], medium: (&'static str, Value)| stored(hashes, None, &[], 16, &[medium]);
    let events = vec![
        prompt_stored(&prompt[..64], 1, &[]),
        known(&[2, 3], cpu.clone()),
        known(&[3, 4], disk),
        removed(&[2, 3, 4], &[]),
        removed(&[3], &[cpu]),
    ];
    apply(&mut index, one, events);
    assert_eq!(cached(&index, one, &prompt), [16, 16, 32]);
}

#[test]
fn a_block_stored_twice_is_gone_when_it_has_been_removed_twice() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(17);
    let store = || prompt_stored(&prompt[..16], 1, &[]);
    let announce = || prompt_stored(&prompt[..16], 1, &[("origin", Value::from("REUSED"))]);
    apply(&mut index, one, vec![store(), store(), announce(), removed(&[1], &[])]);
    assert_eq!(cached(&index, one, &prompt), [16, 0, 0]);
    apply(&mut index, one, vec![removed(&[1], &[])]);
    assert_eq!((cached(&index, one, &prompt), index.len()), ([0; 3], 0));
    apply(&mut index, one, vec![announce(), removed(&[1], &[])]);
    assert_eq!(index.len(), 0);
}

#[test]
fn adapter_salt_and_images_separate_prompts() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(49);
    let extra = |first: &[&str], second: &[&str]| {
        let list = |keys: &[&str]| Value::Array(keys.iter().map(|key| Value::from(*key)).collect());
        ("extra_keys", Value::Array(vec![list(first), list(second), Value::Nil]))
    };
    let adapter = ("lora_name", Value::from("sql"));
    let events = vec![
        prompt_stored(&prompt[..48], 10, &[extra(&["sql", "salt"], &["sql"]), adapter]),
        prompt_stored(&prompt[..48], 20, &[extra(&["salt"], &["image"])]),
    ];
    apply(&mut index, one, events);
    let image = [PromptImage { tokens: 20..30, identifier: b"image" }];
    let plain = Prompt { tokens: &prompt, ..Prompt::default() };
    let salted = Prompt { cache_salt: Some(b"salt"), ..plain };
    let total = |prompt: &Prompt<'_>| cached_with(&index, one, prompt)[0];
    assert_eq!(total(&plain), 0);
    assert_eq!(total(&Prompt { adapter: Some(b"sql"), ..salted }), 48);
    assert_eq!(total(&Prompt { adapter: Some(b"sql"), ..plain }), 0);
    assert_eq!((total(&salted), total(&Prompt { images: &image, ..salted })), (16, 48));
    assert_eq!(total(&Prompt { images: &[PromptImage { tokens: 20..30, identifier: b"other" }], ..salted }), 16);
}

#[test]
fn all_groups_of_a_publisher_have_what_it_has() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(65);
    let group = |group: u64| ("group_idx", Value::from(group));
    let window = ("kv_cache_spec_kind", Value::from("sliding_window"));
    let events = vec![
        prompt_stored(&prompt[..64], 1, &[group(0)]),
        stored(&[50], None, &prompt[..64], 64, &[group(1)]),
        prompt_stored(&prompt[..16], 1, &[group(2), window]),
    ];
    apply(&mut index, one, events);
    assert_eq!((cached(&index, one, &prompt), index.counters().ignored), ([64, 0, 0], 1));
    apply(&mut index, one, vec![removed(&[4], &[group(1)])]);
    assert_eq!(cached(&index, one, &prompt), [64, 0, 0]);
    apply(&mut index, one, vec![removed(&[4], &[group(0)])]);
    assert_eq!(cached(&index, one, &prompt), [48, 0, 0]);
}

#[test]
fn an_index_that_is_full_evicts_what_is_not_asked_for() {
    let (mut index, [one]) = index(8);
    let (kept, prompt) = (tokens(65), tokens(20_000));
    apply(&mut index, one, vec![prompt_stored(&kept[..64], 1, &[])]);
    for block in 0..100_usize {
        assert_eq!(cached(&index, one, &kept), [64, 0, 0]);
        let other = &prompt[1000 + 16 * block..][..16];
        apply(&mut index, one, vec![stored(&[1000 + block as u64], None, other, 16, &[])]);
    }
    assert_eq!((index.len(), index.counters().evicted), (8, 96));
}

#[test]
fn memory_of_what_is_gone_is_used_again() {
    let (mut index, [one, other]) = index(1_000_000);
    let prompt = tokens(16_000);
    for round in 0..50 {
        apply(&mut index, one, vec![prompt_stored(&prompt, round, &[])]);
        index.clear(one);
        assert_eq!(cached(&index, one, &prompt), [0; 3]);
        apply(&mut index, other, vec![prompt_stored(&prompt[..16], round, &[]), removed(&[round], &[])]);
    }
    assert!(index.len() <= 4000, "{} records", index.len());
    while index.sweep(1000) {}
    assert_eq!(index.len(), 0);
    index.remove_publisher(one);
    assert_eq!(index.add_publisher(), Some(one));
    assert_eq!(cached(&index, one, &prompt), [0; 3]);
}
