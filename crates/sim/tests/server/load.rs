use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pailou_sim::{Config, CostModel, MetricsDialect};
use serde_json::json;
use tokio::net::TcpStream;

use crate::client::{Client, eventually, instant, request, start};

/// An hour of work at 50 tokens a second, were it not aborted.
fn endless() -> serde_json::Value {
    json!({
        "model": "qwen", "messages": [{"role": "user", "content": "go on"}], "stream": true,
        "max_tokens": 20_000, "ignore_eos": true,
    })
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_aborts_it_at_once() {
    let sim = start(Config::new("one", ["qwen"])).await;
    let mut client = Client::connect(sim.addr()).await;
    let mut response = client.post("/v1/chat/completions", &endless()).await.unwrap();
    response.frame().await.unwrap().unwrap();
    assert_eq!(sim.stats().running, 1);
    let left = Instant::now();
    drop((response, client));
    eventually("the abort arrives", || sim.stats().aborts == 1).await;
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
    assert_eq!((sim.stats().running, sim.stats().kv_usage), (0, 0.0));
    let (_, page) = Client::connect(sim.addr()).await.get("/metrics").await;
    let line = r#"vllm:request_success_total{engine="0",model_name="qwen",finished_reason="abort"} 1.0"#;
    assert!(page.contains(line), "{page}");
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_aborts_too() {
    let sim = start(Config { max_num_seqs: 1, ..Config::new("one", ["qwen"]) }).await;
    let mut first = Client::connect(sim.addr()).await;
    let mut stream = first.post("/v1/chat/completions", &endless()).await.unwrap();
    stream.frame().await.unwrap().unwrap();
    let mut body = endless();
    body["stream"] = false.into();
    let mut second = Client::connect(sim.addr()).await;
    let waiting = tokio::spawn(async move { second.post("/v1/chat/completions", &body).await.map(drop) });
    eventually("the second waits", || sim.stats().waiting == 1).await;
    waiting.abort();
    eventually("the second is gone", || sim.stats().aborts == 1 && sim.stats().waiting == 0).await;
    assert_eq!(sim.stats().running, 1);
}

#[tokio::test]
async fn leaving_before_the_engine_has_the_request_counts_as_well() {
    let cost = CostModel { request_us: 60e6, ..CostModel::default() };
    let sim = start(Config { cost, ..Config::new("one", ["qwen"]) }).await;
    let mut client = Client::connect(sim.addr()).await;
    let asking = tokio::spawn(async move { client.post("/v1/chat/completions", &endless()).await.map(drop) });
    eventually("the request arrives", || sim.stats().requests == 1).await;
    asking.abort();
    eventually("the abort counts", || sim.stats().aborts == 1).await;
}

#[tokio::test]
async fn a_reset_http2_stream_aborts_without_harm_to_its_connection() {
    let sim = start(Config::new("one", ["qwen"])).await;
    let tcp = TcpStream::connect(sim.addr()).await.unwrap();
    let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let uri = "http://sim.test/v1/chat/completions";
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut response = send.send_request(request(Method::POST, uri, endless().to_string())).await.unwrap();
        response.frame().await.unwrap().unwrap();
        streams.push(response);
    }
    streams.pop();
    eventually("the abort arrives", || sim.stats().aborts == 1).await;
    assert_eq!(sim.stats().running, 1);
    assert!(streams[0].frame().await.unwrap().is_ok());
}

#[tokio::test]
async fn time_passes_as_the_cost_model_says() {
    let cost = CostModel { request_us: 0.0, step_us: 20_000.0, jitter: 0.0, ..CostModel::default() };
    let sim = start(Config { cost, ..Config::new("one", ["qwen"]) }).await;
    let mut client = Client::connect(sim.addr()).await;
    let began = Instant::now();
    let body = json!({"model": "qwen", "prompt": "once", "max_tokens": 10, "stream": true, "ignore_eos": true});
    let mut response = client.post("/v1/completions", &body).await.unwrap();
    let mut arrivals = Vec::new();
    while let Some(frame) = response.frame().await {
        frame.unwrap();
        arrivals.push(began.elapsed());
    }
    let (first, last) = (arrivals[0], began.elapsed());
    assert!(first >= Duration::from_millis(19), "the first token after {first:?}");
    assert!(last >= Duration::from_millis(199), "the last token after {last:?}");
    assert!(arrivals.len() >= 10, "tokens came in {} chunks", arrivals.len());
}

#[tokio::test]
async fn saturation_shows_in_the_metrics_of_every_dialect() {
    for (dialect, running, waiting) in [
        (MetricsDialect::Vllm, "vllm:num_requests_running", "vllm:num_requests_waiting"),
        (MetricsDialect::Sglang, "sglang:num_running_reqs", "sglang:num_queue_reqs"),
        (MetricsDialect::Trtllm, "trtllm_num_requests_running", "trtllm_num_requests_waiting"),
    ] {
        let config = Config { metrics: dialect, max_num_seqs: 2, ..Config::new("one", ["qwen"]) };
        let sim = start(config).await;
        let mut streams = Vec::new();
        for _ in 0..5 {
            let mut client = Client::connect(sim.addr()).await;
            streams.push((client.post("/v1/chat/completions", &endless()).await.unwrap(), client));
        }
        eventually("all have arrived", || sim.stats().running == 2 && sim.stats().waiting == 3).await;
        let (_, page) = Client::connect(sim.addr()).await.get("/metrics").await;
        let value = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert_eq!((value(running), value(waiting)), (2.0, 3.0));
    }
}

#[tokio::test]
async fn metrics_count_tokens_hits_and_latencies() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let body = json!({"model": "qwen", "prompt": "again and ".repeat(40), "max_tokens": 8, "ignore_eos": true});
    for _ in 0..3 {
        client.json("/v1/completions", &body).await;
    }
    let (_, page) = client.get("/metrics").await;
    for line in [
        "vllm:generation_tokens_total{engine=\"0\",model_name=\"qwen\"} 24.0",
        "vllm:prompt_tokens_total{engine=\"0\",model_name=\"qwen\"} 300.0",
        "vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"qwen\"} 192.0",
        "vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"qwen\"} 3.0",
        "finished_reason=\"length\"} 3.0",
        "block_size=\"16\"",
        "num_gpu_blocks=\"8192\"",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

#[tokio::test]
async fn adapters_are_loaded_used_and_unloaded() {
    let sim = start(Config::new("one", ["qwen"])).await;
    let mut client = Client::connect(sim.addr()).await;
    let mut body = endless();
    body["model"] = "sql-lora".into();
    assert_eq!(client.json("/v1/chat/completions", &body).await.0, 404);
    let load = json!({"lora_name": "sql-lora", "lora_path": "/adapters/sql"});
    assert_eq!(client.json("/v1/load_lora_adapter", &load).await.0, 200);
    assert_eq!(client.json("/v1/load_lora_adapter", &load).await.0, 400);
    assert!(client.get("/v1/models").await.1.contains(r#""parent":"qwen""#));
    let mut other = Client::connect(sim.addr()).await;
    let mut stream = other.post("/v1/chat/completions", &body).await.unwrap();
    stream.frame().await.unwrap().unwrap();
    assert!(client.get("/metrics").await.1.contains(r#"running_lora_adapters="sql-lora",waiting_lora_adapters="""#));
    assert_eq!(client.json("/v1/unload_lora_adapter", &load).await.0, 200);
    assert_eq!(client.json("/v1/unload_lora_adapter", &load).await.0, 404);
}
