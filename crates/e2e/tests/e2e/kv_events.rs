//! Exact prefixes: what engines tell of their caches draws requests, and nothing that they do not have.

use std::net::{Ipv4Addr, SocketAddr};

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::picker::Picker;
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::{Config, EventEncoding, Fault, FaultKind, KvEvents, OffloadLimits, Sim};
use serde_json::{Value, json};

use crate::support::{everything_to, ip, pool_of};

const TOKENIZATIONS: &str = "pailou_prompt_tokenizations";

/// An engine that publishes its blocks, on the ports that the pool names.
async fn publishing(name: &str, address: Ipv4Addr, encoding: EventEncoding) -> Sim {
    publishing_with(name, address, encoding, |config| config).await
}

/// The same as `change` has it.
async fn publishing_with(name: &str, address: Ipv4Addr, encoding: EventEncoding, change: impl FnOnce(Config) -> Config) -> Sim {
    let at = |port| SocketAddr::from((address, port));
    let events = KvEvents { listen: at(5557), replay_listen: Some(at(5558)), encoding, topic: format!("kv@{address}@qwen") };
    let config = Config { listen: at(8000), kv_events: Some(events), ..Config::new(name, ["qwen"]).instant() };
    Sim::start(change(config)).await.expect("the addresses are free")
}

async fn two(encoding: EventEncoding) -> [Sim; 2] {
    [publishing("a", loopback(), encoding).await, publishing("b", loopback(), encoding).await]
}

/// The pool `qwen` of these engines, with their KV events.
fn pool(engines: &[&Sim]) -> Vec<Value> {
    let mut pool = pool_of("qwen", engines);
    pool[0]["metadata"]["annotations"] = json!({
        "inference.networking.x-k8s.io/routing-strategy": "PREFIX_CACHE",
        "pailou.dev/kv-events-port": "5557",
        "pailou.dev/kv-events-replay-port": "5558",
    });
    pool
}

/// A gateway before the pool, which has heard all that the engines have.
async fn serve(engines: &[&Sim]) -> Gateway {
    let gateway = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    let gateway = Setup::with(gateway.into_iter().chain(pool(engines))).serve().await;
    complete(&gateway, engines.len()).await;
    gateway
}

/// Waits until all is known of so many engines' caches.
async fn complete(gateway: &Gateway, engines: usize) {
    let known = async || gateway.metric("pailou_kv_publishers", &["state=\"complete\""]).await;
    wait::within("all engines are heard", async { while known().await != engines as f64 {} }).await;
}

/// A chat whose beginning is `topic`.
fn chat(topic: &str, question: usize) -> Call {
    let messages = json!([
        {"role": "system", "content": format!("{topic}: {}", "what the model is to know. ".repeat(80))},
        {"role": "user", "content": format!("question {question}")},
    ]);
    Call::json(CHAT, json!({"model": "qwen", "messages": messages, "max_tokens": 1}).to_string())
}

/// Has an engine compute the beginning, without the gateway, which hears of it.
async fn compute(engine: &Sim, topic: &str, gateway: &Gateway) {
    let stored = async || gateway.metric("pailou_kv_event_blocks", &["kind=\"stored\""]).await;
    let before = stored().await;
    assert_eq!(chat(topic, 0).send(engine.addr()).await.status, 200);
    // More than 2,000 bytes are more than 32 blocks of 16 tokens of 4 bytes.
    wait::within("the blocks are known", async { while stored().await < before + 32.0 {} }).await;
}

/// Requests with this beginning go to this engine. The first may come before its tokens are there, on a busy machine.
async fn draws(gateway: SocketAddr, topic: &str, engine: &str) {
    draws_by(gateway, engine, |question| chat(topic, question)).await;
}

/// The same of requests in any form.
async fn draws_by(gateway: SocketAddr, engine: &str, call: impl Fn(usize) -> Call) {
    let mut in_a_row = 0;
    let drawn = async {
        for question in 1.. {
            let reply = call(question).send(gateway).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            in_a_row = if reply.server() == engine { in_a_row + 1 } else { 0 };
            if in_a_row == 8 {
                return;
            }
        }
    };
    wait::within(&format!("requests go to {engine}"), drawn).await;
}

#[tokio::test]
async fn a_prefix_that_an_engine_computed_for_another_draws_the_gateways_requests() {
    for encoding in [EventEncoding::Map, EventEncoding::Array] {
        let [a, b] = two(encoding).await;
        let gateway = serve(&[&a, &b]).await;
        for (topic, engine, name) in [("gates", &b, "b"), ("bridges", &a, "a"), ("towers", &b, "b")] {
            compute(engine, topic, &gateway).await;
            draws(gateway.http(), topic, name).await;
        }
        let answered = gateway.metric(TOKENIZATIONS, &["result=\"answered\""]).await;
        assert!(answered >= 1.0, "{encoding:?}");
        assert_eq!(gateway.metric("pailou_prompt_token_mismatches", &[]).await, 0.0);
        for unread in ["unknown", "malformed"] {
            assert_eq!(gateway.metric("pailou_kv_events", &[&format!("result=\"{unread}\"")]).await, 0.0, "{encoding:?}");
        }
    }
}

#[tokio::test]
async fn a_restarted_or_emptied_engine_draws_nothing_by_what_it_had() {
    let [a, b] = two(EventEncoding::Map).await;
    let gateway = serve(&[&a, &b]).await;
    let address = ip(&a);
    compute(&a, "gates", &gateway).await;
    compute(&a, "bridges", &gateway).await;
    draws(gateway.http(), "gates", "a").await;
    a.kill().await;
    wait::within("the engine is not heard any more", async {
        while gateway.metric("pailou_kv_publishers", &["state=\"complete\""]).await != 1.0 {}
    })
    .await;
    let a = publishing("a", address, EventEncoding::Map).await;
    complete(&gateway, 2).await;
    compute(&b, "gates", &gateway).await;
    draws(gateway.http(), "gates", "b").await;

    compute(&a, "bridges", &gateway).await;
    draws(gateway.http(), "bridges", "a").await;
    let clears = gateway.metric("pailou_kv_cache_clears", &[]).await;
    assert_eq!(Call::json("/reset_prefix_cache", "{}").send(a.addr()).await.status, 200);
    wait::within("the clear is known", async { while gateway.metric("pailou_kv_cache_clears", &[]).await == clears {} }).await;
    compute(&b, "bridges", &gateway).await;
    draws(gateway.http(), "bridges", "b").await;
}

#[tokio::test]
async fn a_tokenizer_that_hangs_delays_no_request_for_long_and_is_left_alone() {
    let [a, b] = two(EventEncoding::Map).await;
    let gateway = serve(&[&a, &b]).await;
    for sim in [&a, &b] {
        sim.faults().set([Fault::new(FaultKind::Stall(None)).path("/tokenize")]);
    }
    let count = async |result: &str| gateway.metric(TOKENIZATIONS, &[&format!("result=\"{result}\"")]).await;
    let mut question = 0;
    wait::within("the tokenizer is left alone", async {
        while count("standing_back").await == 0.0 {
            let reply = chat("gates", question).send(gateway.http()).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            question += 1;
        }
    })
    .await;
    assert!(count("timeout").await >= 2.0);
    assert_eq!(count("answered").await, 0.0);
    // The estimate keeps requests of one beginning together.
    let first = chat("gates", 100).send(gateway.http()).await;
    let second = chat("gates", 101).send(gateway.http()).await;
    assert_eq!(first.server(), second.server());
    for sim in [&a, &b] {
        sim.faults().clear();
    }
    wait::within("the tokenizer is asked again", async {
        while count("answered").await == 0.0 {
            assert_eq!(chat("gates", 1).send(gateway.http()).await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn a_conversation_goes_on_by_the_tokens_of_its_earlier_turns() {
    let [a, b] = two(EventEncoding::Map).await;
    let gateway = serve(&[&a, &b]).await;
    let mut messages = vec![json!({"role": "user", "content": "Tell me of gates and bridges. ".repeat(20)})];
    let mut servers = Vec::new();
    let continued = async {
        while gateway.metric(TOKENIZATIONS, &["result=\"continued\""]).await < 2.0 {
            let body = json!({"model": "qwen", "messages": messages, "max_tokens": 20}).to_string();
            let reply = Call::json(CHAT, body).send(gateway.http()).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            servers.push(reply.server().to_owned());
            messages.push(reply.json()["choices"][0]["message"].clone());
            messages.push(json!({"role": "user", "content": "Go on."}));
        }
    };
    wait::within("earlier turns are relied on", continued).await;
    servers.dedup();
    assert_eq!(servers.len(), 1, "one engine has the conversation");
    assert_eq!(gateway.metric("pailou_prompt_token_mismatches", &[]).await, 0.0);
}

#[tokio::test]
async fn the_picker_for_other_gateways_knows_prefixes_by_events_too() {
    let [a, b] = two(EventEncoding::Map).await;
    let picker = Picker::serve("qwen", pool(&[&a, &b]), &[]).await;
    let gateway = crate::picker::gateway(&[&a, &b], &picker, "FailClose", []).await;
    let stored = async || picker.metric("pailou_kv_event_blocks", &["kind=\"stored\""]).await;
    wait::within("both engines are heard", async {
        while picker.metric("pailou_kv_publishers", &["state=\"complete\""]).await != 2.0 {}
    })
    .await;
    for (topic, engine, name) in [("gates", &b, "b"), ("bridges", &a, "a")] {
        let before = stored().await;
        assert_eq!(chat(topic, 0).send(engine.addr()).await.status, 200);
        wait::within("the blocks are known", async { while stored().await < before + 32.0 {} }).await;
        draws(gateway.http(), topic, name).await;
    }
    assert!(picker.metric(TOKENIZATIONS, &["result=\"answered\""]).await >= 1.0);
}

/// An engine without a tokenizer was asked for each prompt that was new.
#[tokio::test]
async fn engines_without_a_tokenizer_are_asked_once() {
    let [a, b] = two(EventEncoding::Map).await;
    let gateway = serve(&[&a, &b]).await;
    for engine in [&a, &b] {
        engine.faults().set([Fault::new(FaultKind::Status(404)).path("/tokenize")]);
    }
    let send = async |topic: usize| chat(&format!("topic {topic}"), 0).send(gateway.http()).await.status;
    let mut topic = 0;
    wait::within("both have answered", async {
        while gateway.metric(TOKENIZATIONS, &["result=\"standing_back\""]).await == 0.0 {
            assert_eq!(send(topic).await, 200);
            topic += 1;
        }
    })
    .await;
    let requests = || a.stats().requests + b.stats().requests;
    let before = requests();
    for more in 0..8 {
        assert_eq!(send(topic + more).await, 200);
    }
    assert_eq!(requests(), before + 8);
}

/// Each API's form of one conversation is one prompt to an engine.
#[tokio::test]
async fn a_prefix_draws_requests_of_other_forms_too() {
    let [a, b] = two(EventEncoding::Map).await;
    let gateway = serve(&[&a, &b]).await;
    for (topic, engine, name) in [("gates", &b, "b"), ("bridges", &a, "a"), ("towers", &b, "b")] {
        compute(engine, topic, &gateway).await;
        let system = format!("{topic}: {}", "what the model is to know. ".repeat(80));
        let message = |question: usize| {
            let blocks = json!([{"type": "text", "text": format!("question {question} in blocks")}]);
            json!({
                "model": "qwen", "max_tokens": 1, "system": [{"type": "text", "text": system}],
                "messages": [{"role": "user", "content": blocks}],
            })
        };
        draws_by(gateway.http(), name, |question| Call::json("/v1/messages", message(question).to_string())).await;
        let response = |question: usize| {
            let input = format!("question {question} as input");
            json!({"model": "qwen", "max_output_tokens": 1, "instructions": system, "input": input})
        };
        draws_by(gateway.http(), name, |question| Call::json("/v1/responses", response(question).to_string())).await;
    }
    assert!(gateway.metric(TOKENIZATIONS, &["result=\"answered\""]).await >= 1.0);
    assert_eq!(gateway.metric(TOKENIZATIONS, &["result=\"unsupported\""]).await, 0.0);
    assert_eq!(gateway.metric("pailou_prompt_token_mismatches", &[]).await, 0.0);
}

/// A block that its engine has in slower memory is worth more than one that no engine has.
#[tokio::test]
async fn what_has_left_the_gpu_for_slower_memory_draws_requests_still() {
    let limits = OffloadLimits { cpu_blocks: 100, disk_blocks: 1000, load_us_per_token: 0.0 };
    let small = |config: Config| Config { num_blocks: 60, kv_offload: Some(limits), ..config };
    let a = publishing_with("a", loopback(), EventEncoding::Map, small).await;
    let b = publishing_with("b", loopback(), EventEncoding::Map, small).await;
    let gateway = serve(&[&a, &b]).await;
    let answered = async || gateway.metric(TOKENIZATIONS, &["result=\"answered\""]).await;
    for round in 0.. {
        let topic = format!("gates {round}");
        compute(&a, &topic, &gateway).await;
        for other in 0..6 {
            compute(&a, &format!("other {round} {other}"), &gateway).await;
        }
        // By now it is on the disk alone. On a busy machine its tokens may come too late.
        let before = answered().await;
        let reply = chat(&topic, 1).send(gateway.http()).await;
        if answered().await > before {
            assert_eq!(reply.server(), "a");
            let cached = reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
            assert!(cached > Some(400), "{}", reply.text());
            break;
        }
    }
    for unread in ["unknown", "malformed"] {
        assert_eq!(gateway.metric("pailou_kv_events", &[&format!("result=\"{unread}\"")]).await, 0.0);
    }
}
