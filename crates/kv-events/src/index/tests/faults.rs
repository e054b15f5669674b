//! Faults that other pickers had.

use super::*;

/// One subscriber younger than its engine lost all that came later.
#[test]
fn blocks_of_an_unknown_parent_do_not_hinder_later_prompts() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(49);
    let orphan = stored(&[5, 6], Some(4), &prompt[16..48], 16, &[]);
    apply(&mut index, one, vec![orphan.clone(), prompt_stored(&prompt[..16], 4, &[])]);
    assert_eq!((cached(&index, one, &prompt), index.counters().unknown), ([16, 0, 0], 2));
    assert!(index.has_lost(one));
    index.clear(one);
    assert!(!index.has_lost(one));
    apply(&mut index, one, vec![prompt_stored(&prompt[..16], 4, &[])]);
    apply(&mut index, one, vec![orphan]);
    assert_eq!(cached(&index, one, &prompt), [48, 0, 0]);
}

#[test]
fn a_publisher_whose_blocks_are_evicted_for_anothers_has_lost_some() {
    let (mut index, [one, other]) = index(2);
    let prompt = tokens(49);
    apply(&mut index, one, vec![prompt_stored(&prompt[..32], 16, &[])]);
    assert!(!index.has_lost(one));
    apply(&mut index, other, vec![prompt_stored(&prompt[..16], 16, &[])]);
    assert_eq!((index.has_lost(one), index.has_lost(other)), (true, false));
}

/// Gemma 4 with a draft model has blocks of 16 and 64 tokens.
#[test]
fn blocks_of_mixed_sizes_continue_each_other() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(129);
    let events = vec![stored(&[64], None, &prompt[..64], 64, &[]), stored(&[80, 96], Some(64), &prompt[64..96], 16, &[])];
    apply(&mut index, one, events);
    assert_eq!(cached(&index, one, &prompt), [96, 0, 0]);
    let cpu = ("medium", Value::from("CPU"));
    apply(&mut index, one, vec![stored(&[65, 128], None, &prompt[..128], 64, &[cpu])]);
    assert_eq!(cached(&index, one, &prompt), [96, 32, 0]);
    apply(&mut index, one, vec![removed(&[80], &[])]);
    assert_eq!(cached(&index, one, &prompt), [64, 64, 0]);
}

/// SGLang's pages have one token by default; an index with an entry for each ran out of memory.
#[test]
fn pages_of_one_token_are_found_in_sixteens() {
    let (mut index, [one, other]) = index(1000);
    let prompt = tokens(100);
    let page = |at: u32| stored(&[u64::from(at)], (at > 0).then(|| u64::from(at) - 1), &prompt[at as usize..][..1], 1, &[]);
    apply(&mut index, other, vec![prompt_stored(&prompt[..96], 1, &[])]);
    assert_eq!(apply(&mut index, one, vec![page(0)]), ApplyOutcome::Reset);
    assert_eq!(cached(&index, other, &prompt), [0; 3]);
    assert_eq!(apply(&mut index, one, (0..50).map(page).collect()), ApplyOutcome::Applied);
    apply(&mut index, other, vec![prompt_stored(&prompt[..96], 1, &[])]);
    assert_eq!((cached(&index, one, &prompt), cached(&index, other, &prompt)), ([48, 0, 0], [96, 0, 0]));
    apply(&mut index, one, vec![removed(&[49, 48, 47], &[])]);
    assert_eq!(cached(&index, one, &prompt), [32, 0, 0]);
}

/// SGLang's hashes do not depend on the salt.
#[test]
fn a_hash_that_stands_for_other_tokens_no_longer_stands_for_the_first() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(17);
    let salted = |salt: &str| prompt_stored(&prompt[..16], 1, &[("cache_salt", Value::from(salt))]);
    apply(&mut index, one, vec![salted("first"), salted("second")]);
    let total = |index: &Index, salt: &str| {
        cached_with(index, one, &Prompt { tokens: &prompt, cache_salt: Some(salt.as_bytes()), ..Prompt::default() })[0]
    };
    assert_eq!((total(&index, "first"), total(&index, "second")), (0, 16));
    apply(&mut index, one, vec![removed(&[1], &[])]);
    assert_eq!((total(&index, "second"), index.len()), (0, 0));
}

/// Two hashes for the same tokens: both have to go.
#[test]
fn tokens_are_cached_while_one_of_their_hashes_is() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(17);
    apply(&mut index, one, vec![prompt_stored(&prompt[..16], 1, &[]), prompt_stored(&prompt[..16], 2, &[])]);
    apply(&mut index, one, vec![removed(&[1], &[])]);
    assert_eq!(cached(&index, one, &prompt), [16, 0, 0]);
    apply(&mut index, one, vec![removed(&[2], &[])]);
    assert_eq!(cached(&index, one, &prompt), [0; 3]);
}

#[test]
fn a_cache_that_is_cleared_is_cleared_at_once() {
    let (mut index, [one, other]) = index(1_000_000);
    let prompt = tokens(160_001);
    apply(&mut index, one, vec![prompt_stored(&prompt[..160_000], 1, &[])]);
    apply(&mut index, other, vec![prompt_stored(&prompt[..160_000], 1, &[])]);
    apply(&mut index, one, vec![Value::Array(vec![Value::from("AllBlocksCleared")])]);
    assert_eq!((cached(&index, one, &prompt), cached(&index, other, &prompt)), ([0; 3], [160_000, 0, 0]));
    // A child of what was cleared is an orphan.
    apply(&mut index, one, vec![stored(&[7], Some(1), &prompt[16..32], 16, &[])]);
    assert_eq!(index.counters().unknown, 1);
}

/// Blocks of an adapter without a name drew requests for the model that it is an adapter of.
#[test]
fn blocks_of_an_adapter_without_a_name_are_left_out() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(49);
    let number = |id: u64| ("lora_id", Value::from(id));
    let name = ("lora_name", Value::from("tuned"));
    apply(&mut index, one, vec![stored(&[1, 2], None, &prompt[..32], 16, &[number(3)])]);
    assert_eq!((cached(&index, one, &prompt), index.counters().ignored, index.has_lost(one)), ([0; 3], 2, true));
    apply(&mut index, one, vec![stored(&[3, 4], None, &prompt[..32], 16, &[number(3), name])]);
    assert_eq!((cached(&index, one, &prompt), index.knows_adapter(b"tuned"), index.knows_adapter(b"qwen")), ([0; 3], true, false));
    apply(&mut index, one, vec![stored(&[5], None, &prompt[..16], 16, &[number(0)])]);
    assert_eq!(cached(&index, one, &prompt), [16, 0, 0]);
}

#[test]
fn a_lower_bound_is_reached_step_by_step() {
    let (mut index, [one]) = index(1000);
    let prompt = tokens(16 * 500);
    apply(&mut index, one, vec![prompt_stored(&prompt, 16, &[])]);
    index.set_max_records(100);
    for (place, left) in [437, 374, 311, 248, 185, 122, 100, 100].into_iter().enumerate() {
        let other: Vec<u32> = (0..16).map(|token| 1_000_000 * (place as u32 + 1) + token).collect();
        apply(&mut index, one, vec![prompt_stored(&other, 10_000 + place as u64, &[])]);
        assert_eq!(index.len(), left);
    }
}
