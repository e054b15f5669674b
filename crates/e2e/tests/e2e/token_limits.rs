//! Limits in tokens as ACK's and Envoy AI Gateway's documentation write them, with the binary and a simulated engine.

use pailou_e2e::{
    client::Call,
    gateway::{Gateway, Setup},
    objects, wait,
};
use pailou_sim::Sim;
use serde_json::{Value, json};

use crate::support::{everything_to, instant};

/// A Gateway whose clients, by `x-user-id`, are charged what a response writes under a key; what else the rule says.
fn limited(engine: &Sim, (namespace, key): (&str, &str), requests: u64, more: Value) -> Vec<Value> {
    let mut rule = json!({
        "clientSelectors": [{"headers": [{"name": "x-user-id", "type": "Distinct"}]}],
        "limit": {"requests": requests, "unit": "Year"},
        "cost": {"response": {"from": "Metadata", "metadata": {"namespace": namespace, "key": key}}},
    });
    if !more.is_null() {
        rule["cost"]["request"] = more;
    }
    let limit = json!({"type": "Global", "global": {"rules": [rule]}});
    vec![
        objects::gateway(),
        objects::backend("engine", &[engine.addr()]),
        objects::route("mock-route", everything_to(objects::to_backend("engine"))),
        objects::on_route("BackendTrafficPolicy", "mock-route", json!({"rateLimit": limit})),
    ]
}

/// ACK's plug-in that counts tokens, which its documentation has on the same route.
fn plug_in() -> Value {
    let image = "registry.example/acs/gen-ai-telemetry-wasmplugin:g2ad0869-aliyun";
    let wasm = json!({"name": "llm-telemetry", "rootID": "ack-gateway-extension",
        "code": {"type": "Image", "image": {"url": image}}});
    objects::on_route("EnvoyExtensionPolicy", "mock-route", json!({"wasm": [wasm]}))
}

/// Statuses of a client's streams of 10 tokens, one after the other.
async fn streams(gateway: &Gateway, user: &str, calls: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..calls {
        let call = Call::chat_stream("qwen", "hello", 10).header("x-user-id", user);
        statuses.push(call.send(gateway.http()).await.status.as_u16());
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn completion_tokens_of_each_user_are_limited_as_ack_documents_it_without_its_plug_in() {
    let engine = instant("engine", "qwen").await;
    let mut list = limited(&engine, ("FILTER_STATE", "wasm.gen_ai.completion.tokens"), 30, Value::Null);
    list.push(plug_in());
    let gateway = Setup::with(list).serve().await;
    // A request costs 1 by itself, and its 10 tokens: the third goes beyond the limit, and passes.
    assert_eq!(streams(&gateway, "alice", 4).await, [200, 200, 200, 429]);
    assert_eq!(streams(&gateway, "bob", 1).await, [200]);
    let refused = Call::chat_stream("qwen", "hello", 10).header("x-user-id", "alice").send(gateway.http()).await;
    assert_eq!((refused.status.as_u16(), refused.header("x-ratelimit-remaining")), (429, "0"), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_charged_the_tokens_that_the_response_tells() {
    let engine = instant("engine", "qwen").await;
    for (namespace, key, of_usage) in [
        ("io.envoy.ai_gateway", "llm_input_token", "prompt_tokens"),
        ("io.envoy.ai_gateway", "llm_output_token", "completion_tokens"),
        ("io.envoy.ai_gateway", "llm_total_token", "total_tokens"),
        ("FILTER_STATE", "wasm.gen_ai.prompt.tokens", "prompt_tokens"),
        ("FILTER_STATE", "wasm.gen_ai.completion.tokens", "completion_tokens"),
        ("FILTER_STATE", "wasm.gen_ai.total.tokens", "total_tokens"),
    ] {
        let free = json!({"from": "Number", "number": 0});
        let gateway = Setup::with(limited(&engine, (namespace, key), 1_000_000, free)).serve().await;
        let reply = Call::chat("qwen", "hello").header("x-user-id", "alice").send(gateway.http()).await;
        let tokens = reply.json()["usage"][of_usage].as_u64().unwrap();
        assert!(tokens > 0, "{}", reply.text());
        // A request that is no call of a model costs nothing; what is left is told while it holds the least there is, 1.
        let left = async || {
            let reply = Call::get("/v1/models").header("x-user-id", "alice").send(gateway.http()).await;
            reply.header("x-ratelimit-remaining").to_owned()
        };
        let wanted = (1_000_000 - tokens - 1).to_string();
        wait::within(&format!("{key} is charged {tokens}"), async { while left().await != wanted {} }).await;
    }
}
