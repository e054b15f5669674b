//! The index against a model of maps and vectors.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;

/// All that a block's content depends on, from the beginning of the prompt.
type Content = Vec<u32>;

/// Publisher, group, block size, hash.
type BlockKey = (usize, u16, u32, u64);

/// Engines' blocks as plain data.
#[derive(Debug, Default)]
struct Model {
    /// Content, and copies by tier.
    blocks: BTreeMap<BlockKey, (Content, [u32; 3])>,
    /// Groups and sizes that ever stored.
    owners: BTreeMap<(usize, u16), ()>,
}

impl Model {
    fn parent(&self, publisher: usize, group: u16, hash: u64) -> Option<Content> {
        let found = self.blocks.iter().filter(|(key, _)| key.0 == publisher && key.3 == hash);
        found.min_by_key(|(key, _)| key.1 != group).map(|(_, (content, _))| content.clone())
    }

    fn store(&mut self, key: BlockKey, content: &Content, tier: usize, is_reused: bool) {
        self.owners.insert((key.0, key.1), ());
        let block = self.blocks.entry(key).or_default();
        if block.0 != *content {
            *block = (content.clone(), [0; 3]);
        }
        if !is_reused || block.1[tier] == 0 {
            block.1[tier] += 1;
        }
    }

    fn remove(&mut self, publisher: usize, group: u16, hash: u64, tier: usize) {
        let keys = self.blocks.iter().filter(|(key, block)| (key.0, key.1, key.3) == (publisher, group, hash) && block.1[tier] > 0);
        let Some(key) = keys.map(|(key, _)| *key).next() else { return };
        let copies = &mut self.blocks.get_mut(&key).expect("found").1;
        copies[tier] -= 1;
        if *copies == [0; 3] {
            self.blocks.remove(&key);
        }
    }

    fn clear(&mut self, publisher: usize) {
        self.blocks.retain(|key, _| key.0 != publisher);
        self.owners.retain(|key, ()| key.0 != publisher);
    }

    fn cached(&self, publisher: usize, prompt: &Content) -> [u32; 3] {
        let groups = self.owners.keys().filter(|owner| owner.0 == publisher);
        let runs = groups.map(|owner| self.run(*owner, prompt));
        runs.min_by_key(|run| (run.iter().sum::<u32>(), *run)).unwrap_or_default()
    }

    fn run(&self, (publisher, group): (usize, u16), prompt: &Content) -> [u32; 3] {
        let (mut covered, mut tokens) = (0, [0; 3]);
        // The first element of a content is its salt.
        for end in 1..prompt.len() as u32 - 1 {
            let blocks = self.blocks.iter().filter(|(key, block)| {
                (key.0, key.1) == (publisher, group) && block.0[..] == prompt[..end as usize + 1] && end - key.2 <= covered
            });
            let tier = blocks.filter_map(|(_, block)| block.1.iter().position(|copies| *copies > 0)).min();
            if let Some(tier) = tier {
                tokens[tier] += end - covered;
                covered = end;
            }
        }
        tokens
    }
}

#[derive(Clone, Debug)]
enum Step {
    Store { publisher: usize, group: u16, size: u32, prompt: usize, from: u32, blocks: u32, tier: usize, is_reused: bool },
    Known { publisher: usize, group: u16, size: u32, prompt: usize, at: u32, tier: usize },
    Remove { publisher: usize, group: u16, size: u32, prompt: usize, at: u32, tier: usize },
    Clear { publisher: usize },
}

const PROMPTS: usize = 4;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || (0..3_usize, 0..2_u16, prop_oneof![4 => Just(16_u32), 1 => Just(64)], 0..PROMPTS, 0..9_u32);
    let tier = || prop_oneof![3 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
    let store = (place(), 1..9_u32, tier(), prop::bool::weighted(0.1)).prop_map(
        |((publisher, group, size, prompt, from), blocks, tier, is_reused)| {
            let from = if size == 64 { from / 4 } else { from };
            Step::Store { publisher, group, size, prompt, from: from * from % 8, blocks, tier, is_reused }
        },
    );
    let known = (place(), tier()).prop_map(|((publisher, group, size, prompt, at), tier)| Step::Known {
        publisher,
        group,
        size,
        prompt,
        at,
        tier,
    });
    let remove = (place(), tier()).prop_map(|((publisher, group, size, prompt, at), tier)| Step::Remove {
        publisher,
        group,
        size,
        prompt,
        at,
        tier,
    });
    let clear = (0..3_usize).prop_map(|publisher| Step::Clear { publisher });
    vec(prop_oneof![12 => store, 4 => known, 12 => remove, 1 => clear], 0..60)
}

/// Salt and tokens: prompts share beginnings, and the last two differ by their salt alone.
fn content(prompt: usize) -> Content {
    let branch = |at: u32| if prompt < 2 && at >= 48 { 1000 * (prompt as u32 + 1) } else { 0 };
    let salt = if prompt == 3 { 1 } else { 0 };
    std::iter::once(salt).chain((0..200).map(|at| at * 31 + branch(at))).collect()
}

/// An engine's hash of a block: without the salt, as SGLang's.
fn hash_of(content: &[u32], size: u32) -> u64 {
    let tokens = &content[1..];
    tokens.iter().fold(u64::from(size), |hash, token| (hash ^ u64::from(*token)).wrapping_mul(0x100_0000_01b3).rotate_left(7))
}

fn medium(tier: usize) -> (&'static str, Value) {
    ("medium", Value::from(["GPU", "CPU", "DISK"][tier]))
}

fn run(step: &Step, model: &mut Model, index: &mut Index, publishers: &[PublisherId; 3]) {
    let block = |prompt: usize, size: u32, at: u32| {
        content(prompt)[..(((at + 1) * size + 1) as usize).min(200 / size as usize * size as usize + 1)].to_vec()
    };
    match *step {
        Step::Clear { publisher } => {
            model.clear(publisher);
            index.clear(publishers[publisher]);
        }
        Step::Remove { publisher, group, size, prompt, at, tier } => {
            let hash = hash_of(&block(prompt, size, at), size);
            model.remove(publisher, group, hash, tier);
            let group = ("group_idx", Value::from(group));
            apply(index, publishers[publisher], vec![removed(&[hash], &[group, medium(tier)])]);
        }
        Step::Known { publisher, group, size, prompt, at, tier } => {
            let hash = hash_of(&block(prompt, size, at), size);
            if let Some((content, _)) = model.blocks.get(&(publisher, group, size, hash)) {
                let content = content.clone();
                model.store((publisher, group, size, hash), &content, tier, false);
                let group = ("group_idx", Value::from(group));
                apply(index, publishers[publisher], vec![stored(&[hash], None, &[], size, &[group, medium(tier)])]);
            }
        }
        Step::Store { publisher, group, size, prompt, from, blocks, tier, is_reused } => {
            let whole = content(prompt);
            let end = (from + blocks).min(200 / size);
            if from >= end {
                return;
            }
            let hashes: Vec<u64> = (from..end).map(|at| hash_of(&block(prompt, size, at), size)).collect();
            let parent = (from > 0).then(|| hash_of(&block(prompt, size, from - 1), size));
            let before = match parent {
                None => Some(whole[..1].to_vec()),
                Some(parent) => model.parent(publisher, group, parent),
            };
            if let Some(mut so_far) = before {
                for (at, hash) in (from..end).zip(&hashes) {
                    so_far.extend(&whole[(at * size + 1) as usize..=((at + 1) * size) as usize]);
                    model.store((publisher, group, size, *hash), &so_far, tier, is_reused);
                }
            }
            let salt = if whole[0] == 0 { Value::Nil } else { Value::from("salt") };
            let origin = Value::from(if is_reused { "REUSED" } else { "NEW" });
            let rest = [("group_idx", Value::from(group)), medium(tier), ("cache_salt", salt), ("origin", origin)];
            let tokens = &whole[(from * size + 1) as usize..=(end * size) as usize];
            apply(index, publishers[publisher], vec![stored(&hashes, parent, tokens, size, &rest)]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn runs_are_those_of_a_plain_model(steps in steps()) {
        let (mut index, publishers) = index::<3>(100_000);
        let mut model = Model::default();
        for step in &steps {
            run(step, &mut model, &mut index, &publishers);
        }
        for prompt in 0..PROMPTS {
            let whole = content(prompt);
            let salt = (whole[0] != 0).then_some(&b"salt"[..]);
            let asked = Prompt { tokens: &whole[1..], cache_salt: salt, ..Prompt::default() };
            for (at, publisher) in publishers.iter().enumerate() {
                let got = cached_with(&index, *publisher, &asked);
                prop_assert_eq!(got, model.cached(at, &whole), "prompt {}, publisher {}", prompt, at);
            }
        }
        for publisher in publishers {
            index.clear(publisher);
        }
        while index.sweep(1000) {}
        prop_assert_eq!((index.len(), index.by_key.len(), index.by_hash.len()), (0, 0, 0));
    }
}
