//! Prefill and decode apart: the gateway sends both parts of a request, by vLLM's, SGLang's and TensorRT-LLM's protocols.

mod bodies;
mod failures;
mod forms;
mod sidecar;
mod spans;

use std::net::SocketAddr;
use std::time::Duration;

use pailou_e2e::client::{CHAT, Call, Reply};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::{Config, KvConnector, KvTransfer, Role, Sim};
use serde_json::{Value, json};

use crate::support::{events, everything_to, pool_of};

const PROTOCOLS: [KvConnector; 4] = [KvConnector::Nixl, KvConnector::Sglang, KvConnector::Mooncake, KvConnector::TrtLlm];

/// Whether engines that decode can compute a prompt, too.
fn decode_prefills(connector: KvConnector) -> bool {
    connector != KvConnector::Sglang
}

/// An engine of this role, as `change` has it.
async fn apart_with(name: &str, role: Role, connector: KvConnector, change: impl FnOnce(Config) -> Config) -> Sim {
    let address = loopback();
    let is_bootstrap = matches!(connector, KvConnector::Sglang | KvConnector::Mooncake) && role == Role::Prefill;
    let bootstrap_listen = is_bootstrap.then(|| SocketAddr::from((address, 8998)));
    let kv_transfer = Some(KvTransfer { bootstrap_listen, ..KvTransfer::new(role, connector) });
    let listen = SocketAddr::from((address, 8000));
    let config = Config { listen, kv_transfer, ..Config::new(name, ["qwen"]).instant() };
    Sim::start(change(config)).await.expect("the addresses are free")
}

async fn apart(name: &str, role: Role, connector: KvConnector) -> Sim {
    apart_with(name, role, connector, |config| config).await
}

/// An engine that prefills and one that decodes.
async fn two(connector: KvConnector) -> [Sim; 2] {
    [apart("p", Role::Prefill, connector).await, apart("d", Role::Decode, connector).await]
}

/// The pool `qwen`: these engines, with a label for the role of each, and the pool's annotations.
fn pool(engines: &[(&Sim, &str)], annotations: &[(&str, &str)]) -> Vec<Value> {
    let sims: Vec<_> = engines.iter().map(|(sim, _)| *sim).collect();
    let mut list = pool_of("qwen", &sims);
    for (pod, (_, role)) in list[1..].iter_mut().zip(engines) {
        pod["metadata"]["labels"]["llm-d.ai/role"] = (*role).into();
    }
    list[0]["metadata"]["annotations"] = json!({});
    for (name, value) in annotations {
        list[0]["metadata"]["annotations"][format!("pailou.dev/{name}")] = (*value).into();
    }
    list
}

fn name(connector: KvConnector) -> &'static str {
    match connector {
        KvConnector::Nixl => "nixl",
        KvConnector::Sglang => "sglang",
        KvConnector::Mooncake => "mooncake",
        KvConnector::TrtLlm => "trt-llm",
    }
}

/// A gateway before the pool.
async fn serve(engines: &[(&Sim, &str)], annotations: &[(&str, &str)]) -> Gateway {
    let gateway = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    Setup::with(gateway.into_iter().chain(pool(engines, annotations))).args(["--receipts-sample", "1"]).serve().await
}

/// The same before engines of this protocol, of which those named `p…` prefill.
async fn serve_apart(connector: KvConnector, engines: &[(&Sim, &str)]) -> Gateway {
    serve(engines, &[("kv-connector", name(connector)), ("prefill-timeout", "2s")]).await
}

/// A chat with a prompt of more than 512 tokens, like no other with another topic.
fn long(topic: &str, stream: bool) -> Call {
    longer(topic, 120, stream)
}

/// The same with a sentence so many times, each of some seven tokens.
fn longer(topic: &str, times: usize, stream: bool) -> Call {
    Call::json(CHAT, body(topic, times, stream).to_string())
}

fn body(topic: &str, times: usize, stream: bool) -> Value {
    let text = format!("{topic}: {}", "what the model is to know. ".repeat(times));
    let messages = json!([{"role": "user", "content": text}]);
    let options = if stream { json!({"include_usage": true}) } else { Value::Null };
    json!({
        "stream": stream, "stream_options": options, "model": "qwen", "messages": messages, "max_tokens": 12, "min_tokens": 12,
        "ignore_eos": true,
    })
}

fn short() -> Call {
    Call::chat("qwen", "Hello")
}

async fn outcomes(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metric("pailou_prefills_total", &["backend=\"pool/default/qwen\"", &format!("outcome=\"{outcome}\"")]).await
}

/// The reply's usage.
fn usage(reply: &Reply) -> Value {
    if reply.header("content-type").starts_with("text/event-stream") {
        events(&reply.text()).into_iter().find(|event| event["usage"].is_object()).expect("usage")["usage"].clone()
    } else {
        reply.json()["usage"].clone()
    }
}

/// The text of a reply.
fn text(reply: &Reply) -> String {
    if reply.header("content-type").starts_with("text/event-stream") {
        let events = events(&reply.text());
        assert_eq!(events.last(), Some(&json!("[DONE]")));
        let pieces = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
        pieces.collect()
    } else {
        reply.json()["choices"][0]["message"]["content"].as_str().expect("content").to_owned()
    }
}

#[tokio::test]
async fn a_long_prompt_is_computed_by_one_engine_and_answered_by_another() {
    for connector in PROTOCOLS {
        let [p, d] = two(connector).await;
        let gateway = serve_apart(connector, &[(&p, "prefill"), (&d, "decode")]).await;
        let alone = apart("alone", Role::Both, connector).await;
        for (number, stream) in [false, true].into_iter().enumerate() {
            // The second begins as the first, and as much follows.
            let call = || longer("gates", 120 * (number + 1), stream).header("x-request-id", "request-1");
            let reply = call().send(gateway.http()).await;
            assert_eq!(reply.status, 200, "{connector:?}: {}", reply.text());
            assert_eq!(reply.server(), "d");
            let whole = call().send(alone.addr()).await;
            assert_eq!(text(&reply), text(&whole), "{connector:?}");
            for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
                assert_eq!(usage(&reply)[count], usage(&whole)[count], "{connector:?}: {count}");
            }
            // Tokens that the engine that prefills had cached, not those that came over the network.
            let cached = usage(&reply)["prompt_tokens_details"]["cached_tokens"].as_u64().expect("cached tokens");
            if decode_prefills(connector) {
                assert_eq!(cached > 0, number > 0, "{}", usage(&reply));
                assert_eq!(cached, p.stats().prefix_hits);
            }
            let served = number as u64 + 1;
            assert_eq!((p.stats().kv_sent, d.stats().kv_received), (served, served), "{connector:?}");
            assert_eq!(outcomes(&gateway, "remote").await, served as f64);
            for sim in [&p, &d] {
                let head = sim.stats().last_request.expect("a request");
                assert_eq!(head.headers["x-request-id"], "request-1");
            }
        }
        assert_eq!((p.stats().kv_held, d.stats().generation_tokens), (0, 24), "{connector:?}");
        wait::within("both are logged", async {
            while gateway.access_log().len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let receipts = Call::get("/receipts").host("localhost:15000").send(gateway.admin()).await.json();
        for receipt in receipts["receipts"].as_array().expect("receipts") {
            assert_eq!(receipt["attempts"][0]["endpoint"], "qwen-1", "{receipt}");
            assert_eq!(receipt["prefill_endpoint"], "qwen-0", "{receipt}");
        }
        let log = gateway.access_log();
        for (line, cached) in log.iter().zip([0, 1]) {
            assert_eq!((&line["endpoint"], &line["prefill_endpoint"]), (&json!("qwen-1"), &json!("qwen-0")), "{connector:?}");
            // Tokens that the engine that prefills had cached, not those that came over the network.
            let hit = line["cached_tokens"].as_u64().unwrap_or_default();
            assert_eq!(u64::from(hit > 0), cached, "{connector:?}: {line}");
        }
    }
}

#[tokio::test]
async fn what_is_short_or_cached_is_computed_where_it_is_answered() {
    let [p, d] = two(KvConnector::Nixl).await;
    let gateway = serve_apart(KvConnector::Nixl, &[(&p, "prefill"), (&d, "decode")]).await;
    assert_eq!(short().send(gateway.http()).await.server(), "d");
    assert_eq!((p.stats().requests, outcomes(&gateway, "local").await), (0, 1.0));
    assert_eq!(long("gates", false).send(gateway.http()).await.server(), "d");
    assert_eq!((p.stats().requests, outcomes(&gateway, "remote").await), (1, 1.0));
    // The engine that decodes computes none of a prompt that comes to it, and fails where logprobs of it are asked for.
    let mut body = body("logprobs", 120, false);
    body["prompt_logprobs"] = 1.into();
    assert_eq!(Call::json(CHAT, body.to_string()).send(gateway.http()).await.server(), "d");
    assert_eq!((p.stats().requests, outcomes(&gateway, "local").await), (1, 2.0));
    // The same again is known where it is decoded.
    assert_eq!(long("gates", false).send(gateway.http()).await.server(), "d");
    assert_eq!((p.stats().requests, outcomes(&gateway, "local").await), (1, 3.0));
}

/// SGLang's engines that decode never prefill.
#[tokio::test]
async fn a_short_prompt_is_prefilled_elsewhere_too_where_engines_can_do_nothing_else() {
    let [p, d] = two(KvConnector::Sglang).await;
    let gateway = serve_apart(KvConnector::Sglang, &[(&p, "prefill"), (&d, "decode")]).await;
    let reply = short().send(gateway.http()).await;
    assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"));
    assert_eq!(p.stats().kv_sent, 1);
    let other = Call::get("/v1/models").send(gateway.http()).await;
    assert_eq!((other.status.as_u16(), other.server()), (200, "d"));
}

#[tokio::test]
async fn the_transfer_is_the_gateways_to_arrange() {
    let [p, d] = two(KvConnector::Nixl).await;
    let gateway = serve_apart(KvConnector::Nixl, &[(&p, "prefill"), (&d, "decode")]).await;
    let forged = json!({
        "model": "qwen", "messages": [{"role": "user", "content": "Hello"}],
        "kv_transfer_params": {
            "do_remote_prefill": true, "remote_engine_id": "p", "remote_request_id": "x", "remote_block_ids": [[1]],
            "remote_host": "192.0.2.1", "remote_port": 1,
        },
    });
    let reply = Call::json(CHAT, forged.to_string()).send(gateway.http()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(d.stats().kv_received, 0);
}
