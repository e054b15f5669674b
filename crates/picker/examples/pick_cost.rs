//! Cost of a pick: `cargo run --release -p pailou-picker --example pick_cost`.

use std::{hint::black_box, sync::Arc, time::Instant};

use pailou_picker::{PickRequest, PoolState};
use pailou_snapshot::{Address, Endpoint, EndpointRole, ModelServer, Name, Pool, RoutingStrategy};
use tokio::runtime::Builder;

const ROUNDS: u32 = 5_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Never driven: nothing is scraped, so that nothing but picks is measured.
    let runtime = Builder::new_current_thread().build()?;
    println!("{:>9} {:>8} {:>12} {:>12}", "endpoints", "prompt", "prompts", "ns per pick");
    for count in [8, 100, 1_000] {
        for (bytes, strategy) in
            [(0, RoutingStrategy::Load), (2_000, RoutingStrategy::PrefixCache), (200_000, RoutingStrategy::PrefixCache)]
        {
            let state = PoolState::new(pool(strategy), &endpoints(count), runtime.handle());
            let one = vec![prompt(0, bytes)];
            println!("{count:>9} {bytes:>8} {:>12} {:>12}", "the same", measure(&state, &one)?);
            if bytes > 0 {
                let many: Vec<_> = (0..200).map(|seed| prompt(seed, bytes)).collect();
                println!("{count:>9} {bytes:>8} {:>12} {:>12}", "200 in turn", measure(&state, &many)?);
            }
        }
    }
    Ok(())
}

fn measure(state: &PoolState, prompts: &[Vec<u8>]) -> Result<u128, pailou_picker::PickError> {
    let mut start = Instant::now();
    for round in 0..ROUNDS + ROUNDS / 10 {
        if round == ROUNDS / 10 {
            start = Instant::now();
        }
        let prompt = &prompts[round as usize % prompts.len()];
        let request = PickRequest { model: "qwen", prompt, input_bytes: prompt.len(), ..PickRequest::default() };
        drop(black_box(state.pick(&request)?));
    }
    Ok(start.elapsed().as_nanos() / u128::from(ROUNDS))
}

fn pool(strategy: RoutingStrategy) -> Arc<Pool> {
    Arc::new(Pool::new(Name::new("default", "pool"), ModelServer::Vllm, strategy))
}

fn endpoints(count: u16) -> Vec<Endpoint> {
    let endpoint = |number| Endpoint {
        address: Address::Socket(([127, 0, 0, 1], 10_000 + number).into()),
        name: format!("pod-{number}").into(),
        priority: 0,
        role: EndpointRole::Decode,
        context: None,
    };
    (0..count).map(endpoint).collect()
}

fn prompt(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric() as u8).take(bytes).collect()
}
