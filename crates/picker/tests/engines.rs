//! The picker against simulated engines: what they report decides, and what they lose is forgotten.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use pailou_picker::{EndpointReport, PickRequest, PoolState};
use pailou_sim::{Config, MetricsDialect, Sim};
use pailou_snapshot::{Address, Endpoint, EndpointRole, ModelServer, Name, Pool, RoutingStrategy};
use tokio::{io::AsyncWriteExt, net::TcpStream, runtime::Handle};

fn pool(runtime: ModelServer, strategy: RoutingStrategy) -> Arc<Pool> {
    Arc::new(Pool::new(Name::new("default", "qwen"), runtime, strategy))
}

fn endpoint(sim: &Sim) -> Endpoint {
    Endpoint {
        address: Address::Socket(sim.addr()),
        name: sim.addr().to_string().into(),
        priority: 0,
        role: EndpointRole::Decode,
        context: None,
    }
}

/// An engine that runs two requests at once.
async fn narrow() -> Sim {
    Sim::start(Config { max_num_seqs: 2, output_tokens: (2_000, 2_000), ..Config::new("sim", ["qwen"]) }).await.unwrap()
}

/// Sends requests that do not come from the picker; they last as long as the connections.
async fn occupy(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let body = r#"{"model":"qwen","messages":[{"role":"user","content":"count"}],"max_tokens":2000,"stream":true}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    streams
}

/// Picks, so that scraping is awake, until the endpoints' figures are as wanted.
async fn until(state: &PoolState, wanted: impl Fn(&[EndpointReport]) -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !wanted(&state.snapshot()) {
        assert!(Instant::now() < end, "{:?}", state.snapshot());
        drop(state.pick(&PickRequest { model: "qwen", ..PickRequest::default() }).unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn all_fresh(report: &[EndpointReport]) -> bool {
    report.iter().all(|endpoint| endpoint.fresh)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_is_understood() {
    let dialects = [
        (MetricsDialect::Vllm, ModelServer::Vllm),
        (MetricsDialect::Sglang, ModelServer::Sglang),
        (MetricsDialect::Trtllm, ModelServer::TensorRtLlm),
    ];
    for (metrics, runtime) in dialects {
        let config = Config { max_num_seqs: 2, output_tokens: (2_000, 2_000), metrics, ..Config::new("sim", ["qwen"]) };
        let sim = Sim::start(config).await.unwrap();
        let state = PoolState::new(pool(runtime, RoutingStrategy::Load), &[endpoint(&sim)], &Handle::current());
        let _foreign = occupy(sim.addr(), 5).await;
        until(&state, |report| report[0].fresh && report[0].running == 2.0 && report[0].waiting == 3.0).await;
        assert!(state.snapshot()[0].kv > 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_that_others_keep_busy_is_avoided() {
    let sims = [narrow().await, narrow().await];
    let endpoints: Vec<_> = sims.iter().map(endpoint).collect();
    let state = PoolState::new(pool(ModelServer::Vllm, RoutingStrategy::Load), &endpoints, &Handle::current());
    let _foreign = occupy(sims[0].addr(), 8).await;
    until(&state, |report| all_fresh(report) && report[0].waiting >= 5.0).await;
    for _ in 0..20 {
        let picked = state.pick(&PickRequest { model: "qwen", ..PickRequest::default() }).unwrap();
        assert_eq!(*picked.endpoint().endpoint(), endpoints[1], "{}", picked.receipt());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_stays_with_its_replica_until_that_is_overloaded_or_restarted() {
    let mut sims = vec![narrow().await, narrow().await, narrow().await];
    let endpoints: Vec<_> = sims.iter().map(endpoint).collect();
    let state = PoolState::new(pool(ModelServer::Vllm, RoutingStrategy::PrefixCache), &endpoints, &Handle::current());
    until(&state, all_fresh).await;
    let prompt = "Once upon a time there was a gate over a street. ".repeat(400);
    let request = PickRequest { model: "qwen", prompt: prompt.as_bytes(), input_bytes: prompt.len(), ..PickRequest::default() };
    let pick = || state.pick(&request).unwrap().endpoint().endpoint().clone();
    let home = pick();
    for _ in 0..10 {
        assert_eq!(pick(), home);
    }
    let at = endpoints.iter().position(|endpoint| *endpoint == home).unwrap();
    let foreign = occupy(sims[at].addr(), 30).await;
    until(&state, |report| all_fresh(report) && report[at].waiting >= 20.0).await;
    assert_ne!(pick(), home, "{}", state.pick(&request).unwrap().receipt());

    drop(foreign);
    until(&state, |report| report[at].fresh && report[at].running == 0.0).await;
    assert!(state.snapshot()[at].prefix_blocks > 0);
    let sim = sims.remove(at);
    let listen = sim.addr();
    sim.kill().await;
    until(&state, |report| !report[at].fresh).await;
    let _restarted = Sim::start(Config { listen, ..Config::new("sim", ["qwen"]) }).await.unwrap();
    until(&state, |report| report[at].fresh).await;
    assert_eq!(state.snapshot()[at].prefix_blocks, 0);
}
