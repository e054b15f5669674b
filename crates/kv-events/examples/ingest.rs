//! Speed and memory of the index: `cargo run --release -p pailou-kv-events --example ingest [BLOCKS] [PUBLISHERS]`.
//!
//! Batches are vLLM's: arrays, 32-byte hashes, 16 tokens a block, 64 blocks of a prompt each. Decoding and applying is timed, making
//! them is not. The second round removes a block for each that it stores, the third stores beyond the bound.

use std::time::{Duration, Instant};

use pailou_kv_events::{Batch, Index, Prompt, PublisherId};

const BLOCK: usize = 16;
const BLOCKS_OF_PROMPT: u64 = 64;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let blocks = arguments.next().unwrap_or(10_000_000);
    let count = arguments.next().unwrap_or(100);
    let mut index = Index::new(fastrand::u64(..), blocks);
    let publishers: Vec<PublisherId> = (0..count).filter_map(|_| index.add_publisher()).collect();
    let prompts = u64::from(blocks) / BLOCKS_OF_PROMPT;
    let of = |prompt: u64| publishers[(prompt % publishers.len() as u64) as usize];

    let storing = time(0..prompts, stored, |prompt, batch| ingest(&mut index, of(prompt), batch));
    report("stored", prompts, storing);
    let bytes = index.memory_bytes() as f64 / f64::from(index.len());
    println!("{} records, {bytes:.1} bytes each", index.len());

    let turned = time(
        0..prompts / 10,
        |prompt| [removed(prompt), stored(prompts + prompt)].concat(),
        |prompt, both| {
            let (removal, store) = both.split_at(removed(prompt).len());
            ingest(&mut index, of(prompt), removal);
            ingest(&mut index, of(prompts + prompt), store);
        },
    );
    report("removed and stored", prompts / 10, turned);
    let evicting = time(2 * prompts..2 * prompts + prompts / 10, stored, |prompt, batch| ingest(&mut index, of(prompt), batch));
    report("stored into a full index", prompts / 10, evicting);

    lookups(&mut index, &publishers);
}

/// A prompt of 7,200 tokens that every publisher has, and one of 100,000 that one has.
fn lookups(index: &mut Index, publishers: &[PublisherId]) {
    let shared = 1 << 40;
    for publisher in publishers {
        (0..8).for_each(|part| ingest(index, *publisher, &part_of(shared, part)));
    }
    (0..100).for_each(|part| ingest(index, publishers[0], &part_of(shared + 1, part)));
    for (prompt, length) in [(shared, 7_200), (shared + 1, 100_000), (shared + 2, 7_200)] {
        let tokens: Vec<u32> = (0..).flat_map(|part| tokens(prompt + (part << 44))).take(length).collect();
        let prompt = Prompt { tokens: &tokens, ..Prompt::default() };
        let start = Instant::now();
        let rounds = 200;
        let found: usize = (0..rounds).map(|_| index.cached_prefixes(&prompt).len()).sum();
        println!("lookup of {length} tokens, cached by {}: {:?}", found / rounds, start.elapsed() / rounds as u32);
    }
}

fn time(prompts: std::ops::Range<u64>, make: impl Fn(u64) -> Vec<u8>, mut run: impl FnMut(u64, &[u8])) -> Duration {
    let mut total = Duration::ZERO;
    for prompt in prompts {
        let payload = make(prompt);
        let start = Instant::now();
        run(prompt, &payload);
        total += start.elapsed();
    }
    total
}

fn report(kind: &str, prompts: u64, time: Duration) {
    let blocks = (prompts * BLOCKS_OF_PROMPT) as f64;
    println!("{kind}: {:.2} million blocks a second", blocks / time.as_secs_f64() / 1e6);
}

fn ingest(index: &mut Index, publisher: PublisherId, payload: &[u8]) {
    for event in Batch::new(payload).expect("a batch").flatten() {
        index.apply(publisher, &event);
    }
}

fn tokens(prompt: u64) -> impl Iterator<Item = u32> {
    let mut random = fastrand::Rng::with_seed(prompt);
    (0..BLOCKS_OF_PROMPT as usize * BLOCK).map(move |_| random.u32(..150_000))
}

fn stored(prompt: u64) -> Vec<u8> {
    stored_after(prompt, None)
}

fn part_of(prompt: u64, part: u64) -> Vec<u8> {
    let parent = part.checked_sub(1).map(|before| (prompt + (before << 44), BLOCKS_OF_PROMPT - 1));
    stored_after(prompt + (part << 44), parent)
}

fn stored_after(prompt: u64, parent: Option<(u64, u64)>) -> Vec<u8> {
    let mut out = begin();
    out.extend([0x97, 0xab]);
    out.extend(b"BlockStored");
    hashes(&mut out, prompt);
    match parent {
        Some((prompt, block)) => hash(&mut out, prompt, block),
        None => out.push(0xc0),
    }
    out.extend([0xdc]);
    out.extend(((BLOCKS_OF_PROMPT as usize * BLOCK) as u16).to_be_bytes());
    for token in tokens(prompt) {
        out.push(0xce);
        out.extend(token.to_be_bytes());
    }
    out.extend([BLOCK as u8, 0xc0, 0xa3]);
    out.extend(b"GPU");
    out
}

/// From the end of the prompt, as engines evict.
fn removed(prompt: u64) -> Vec<u8> {
    let mut out = begin();
    out.extend([0x93, 0xac]);
    out.extend(b"BlockRemoved");
    hashes(&mut out, prompt);
    out.extend([0xa3]);
    out.extend(b"GPU");
    out
}

fn begin() -> Vec<u8> {
    let mut out = vec![0x92, 0xcb];
    out.extend(1.5_f64.to_be_bytes());
    out.push(0x91);
    out
}

fn hashes(out: &mut Vec<u8>, prompt: u64) {
    out.extend([0xdc, 0, BLOCKS_OF_PROMPT as u8]);
    (0..BLOCKS_OF_PROMPT).for_each(|block| hash(out, prompt, block));
}

fn hash(out: &mut Vec<u8>, prompt: u64, block: u64) {
    out.extend([0xc4, 32]);
    out.extend([0; 24]);
    let hash = (prompt * BLOCKS_OF_PROMPT + block).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    out.extend(hash.to_be_bytes());
}
