use std::time::Instant;

use proptest::prelude::*;

use super::{
    chain::{MOST_CHAINED, blocks_in},
    *,
};
use crate::testing::{endpoints, prompt};

fn endpoint(slot: u16) -> PoolEndpoint {
    PoolEndpoint::new(&endpoints([usize::from(slot)])[0], slot, Instant::now()).unwrap()
}

fn chain(index: &PrefixIndex, prompt: &[u8]) -> Chain {
    index.chain("qwen", None, prompt)
}

#[test]
fn a_prompt_is_found_where_it_was_sent_and_nowhere_else() {
    let index = PrefixIndex::new();
    let (one, other) = (endpoint(0), endpoint(1));
    let prompt = prompt(1, 10_000);
    let chain = chain(&index, &prompt);
    assert_eq!(index.learn(&one, &chain), 0);
    let found = index.matches(&chain).bytes(one.slot);
    assert!(found > 9_700 && found <= 10_000, "{found}");
    assert_eq!(index.matches(&chain).bytes(other.slot), 0);
    assert_eq!(index.learn(&one, &chain), chain.0.len());
}

#[test]
fn a_conversation_keeps_its_blocks_as_it_grows() {
    let index = PrefixIndex::new();
    let endpoint = endpoint(0);
    let whole = prompt(2, 400_000);
    for length in [1_000, 5_000, 30_000, 200_000] {
        let before = chain(&index, &whole[..length]);
        index.learn(&endpoint, &before);
        let found = index.matches(&chain(&index, &whole)).bytes(endpoint.slot) as usize;
        assert!(found <= length && found > length - length / 20 - 64, "{found} of {length}");
    }
}

#[test]
fn prompts_part_where_they_differ() {
    let index = PrefixIndex::new();
    let endpoint = endpoint(0);
    let first = prompt(3, 4096);
    index.learn(&endpoint, &chain(&index, &first));
    let mut second = first.clone();
    second[1000] ^= 1;
    assert_eq!(index.matches(&chain(&index, &second)).bytes(endpoint.slot), 960);
}

#[test]
fn models_and_salts_share_nothing() {
    let index = PrefixIndex::new();
    let endpoint = endpoint(0);
    let prompt = prompt(4, 4096);
    index.learn(&endpoint, &index.chain("qwen", Some("a"), &prompt));
    for (model, salt) in [("qwen", Some("b")), ("qwen", Some("")), ("qwen", None), ("llama", Some("a")), ("qwena", None)] {
        assert_eq!(index.matches(&index.chain(model, salt, &prompt)).bytes(endpoint.slot), 0, "{model} {salt:?}");
    }
}

#[test]
fn what_is_shared_by_many_endpoints_is_found_at_each() {
    let index = PrefixIndex::new();
    let endpoints: Vec<_> = (0..300).map(endpoint).collect();
    let shared = prompt(5, 2_048);
    let long: Vec<u8> = shared.iter().copied().chain(prompt(6, 2_048)).collect();
    for endpoint in &endpoints {
        index.learn(endpoint, &chain(&index, &shared));
    }
    index.learn(&endpoints[299], &chain(&index, &long));
    let matches = index.matches(&chain(&index, &long));
    assert!((0..299).all(|slot| matches.bytes(slot) == 2_048));
    assert_eq!(matches.bytes(299), 4_096);
}

#[test]
fn endpoints_that_stop_at_different_places_are_all_found() {
    let index = PrefixIndex::new();
    let endpoints: Vec<_> = (0..40).map(endpoint).collect();
    let prompt = prompt(7, 60_000);
    let lengths: Vec<_> = (0..40).map(|slot| slot * slot * 37).collect();
    for (endpoint, length) in endpoints.iter().zip(&lengths) {
        index.learn(endpoint, &chain(&index, &prompt[..*length]));
    }
    let matches = index.matches(&chain(&index, &prompt));
    for (endpoint, length) in endpoints.iter().zip(lengths) {
        assert_eq!(matches.bytes(endpoint.slot) as usize, covered(blocks_in(length)));
    }
}

#[test]
fn lists_stay_within_their_bounds() {
    let index = PrefixIndex::new();
    let endpoint = endpoint(0);
    for seed in 0..600 {
        index.learn(&endpoint, &chain(&index, &prompt(seed, 4096)));
    }
    assert_eq!(endpoint.blocks.len(), MOST_BLOCKS);
    assert_eq!(index.len(), MOST_BLOCKS);
    let found = |seed| index.matches(&chain(&index, &prompt(seed, 4096))).bytes(0);
    assert_eq!((found(0), found(599)), (0, 4096));
    endpoint.blocks.set_capacity(10_000);
    index.learn(&endpoint, &chain(&index, &prompt(1_000, 4096)));
    assert!(index.len() <= 10_000 / 64, "{}", index.len());
    assert_eq!(found(1_000), 4096);
}

#[test]
fn a_prompt_larger_than_the_cache_leaves_its_beginning() {
    let index = PrefixIndex::new();
    let endpoint = endpoint(0);
    endpoint.blocks.set_capacity(1_000);
    let chain = chain(&index, &prompt(7, 4096));
    index.learn(&endpoint, &chain);
    assert_eq!(index.matches(&chain).bytes(0), 960);
}

#[test]
fn a_refused_prompt_is_forgotten_as_far_as_it_was_new() {
    let index = PrefixIndex::new();
    let endpoint = endpoint(0);
    let long = prompt(8, 4096);
    index.learn(&endpoint, &chain(&index, &long[..1024]));
    let long = chain(&index, &long);
    let known = index.learn(&endpoint, &long);
    assert_eq!(known, 16);
    index.forget(&endpoint, &long, known);
    assert_eq!(index.matches(&long).bytes(0), 1024);
}

#[test]
fn an_endpoint_that_left_is_not_learned_of_again() {
    let index = PrefixIndex::new();
    let endpoint = endpoint(0);
    let chain = chain(&index, &prompt(9, 4096));
    index.learn(&endpoint, &chain);
    index.close(&endpoint);
    assert_eq!(index.len(), 0);
    index.learn(&endpoint, &chain);
    assert_eq!((index.len(), endpoint.blocks.len()), (0, 0));
}

#[test]
fn blocks_of_long_prompts_are_few_and_bounded() {
    let index = PrefixIndex::new();
    assert_eq!(chain(&index, &vec![7; 220_000]).0.len(), 224);
    assert_eq!(chain(&index, &vec![7; 10 << 20]).0.len(), MOST_CHAINED);
    assert!(chain(&index, &[7; 63]).0.is_empty());
}

proptest! {
    #[test]
    fn the_arithmetic_of_blocks_agrees_with_cutting(bytes in 0_usize..3_000_000) {
        let (mut blocks, mut cut) = (0, 0);
        while blocks < MOST_CHAINED && cut + block_size(blocks) <= bytes {
            cut += block_size(blocks);
            blocks += 1;
        }
        prop_assert_eq!(blocks_in(bytes), blocks);
        prop_assert_eq!(covered(blocks), cut);
    }

    /// After any sequence of learning, forgetting and evicting: an endpoint that has a block has all before it, the index holds
    /// just the lists' blocks, and no list exceeds its capacity.
    #[test]
    fn lists_and_index_agree(steps in prop::collection::vec((0_u8..4, 0_u16..3, 0_u64..6, 1_usize..6000), 1..40)) {
        let index = PrefixIndex::new();
        let endpoints: Vec<_> = (0..3).map(endpoint).collect();
        endpoints.iter().for_each(|endpoint| endpoint.blocks.set_capacity(8_000));
        let prompts: Vec<_> = (0..6).map(|seed| [prompt(100, 1500), prompt(seed, 4500)].concat()).collect();
        for (action, slot, which, length) in steps {
            let endpoint = &endpoints[usize::from(slot)];
            let chain = chain(&index, &prompts[which as usize][..length]);
            match action {
                0 => index.clear(endpoint),
                1 => {
                    let known = index.learn(endpoint, &chain);
                    index.forget(endpoint, &chain, known);
                }
                _ => {
                    index.learn(endpoint, &chain);
                }
            }
            let mut total = 0;
            for endpoint in &endpoints {
                let mut blocks = endpoint.blocks.0.lock();
                prop_assert!(blocks.bytes() <= 8_000);
                total += blocks.len();
                for prompt in &prompts {
                    let chain = self::chain(&index, prompt);
                    let held: Vec<_> = chain.0.iter().map(|hash| blocks.remove(*hash)).collect();
                    let first = held.iter().take_while(|held| **held).count();
                    prop_assert!(held[first..].iter().all(|held| !held));
                    prop_assert_eq!(index.matches(&chain).bytes(endpoint.slot) as usize, covered(first));
                    for (at, hash) in chain.0.iter().enumerate().take(first).rev() {
                        blocks.insert(*hash, block_size(at) as u32);
                    }
                }
            }
            let mut owned = 0;
            for shard in &index.shards {
                owned += shard.read().values().map(|owners| owners.slots().iter().count()).sum::<usize>();
            }
            prop_assert_eq!(owned, total);
        }
    }
}
