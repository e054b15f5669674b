//! Requests of negative priority that are broken off for more important ones.

use pailou_e2e::client::{CHAT, Call, Open};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::picker::Picker;
use pailou_e2e::{objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, Fault, FaultKind, Sim};
use serde_json::{Value, json};

use crate::receipts::receipt;
use crate::support::{engine, everything_to, pool_of};

const REASON: &str = "x-llm-d-request-dropped-reason";
const OBJECTIVE: &str = "x-gateway-inference-objective";

/// An engine that runs one request at a time, a token in 10 ms.
async fn slow() -> Sim {
    let cost = CostModel { step_us: 10_000.0, ..CostModel::instant() };
    engine(Config { cost, max_num_seqs: 1, ..Config::new("a", ["qwen"]) }).await
}

/// The pool `qwen` with room for one request, where batch work gives way.
fn evicting_pool(sim: &Sim, eviction: &str) -> Vec<Value> {
    let mut list = pool_of("qwen", &[sim]);
    list[0]["metadata"]["annotations"] = json!({
        "pailou.dev/queueing": "true", "pailou.dev/queue-max-concurrency": "1", "pailou.dev/queue-eviction": eviction,
    });
    let spec = json!({"priority": -5, "poolRef": {"name": "qwen"}});
    list.push(objects::object("inference.networking.x-k8s.io/v1alpha2", "InferenceObjective", "batch", spec));
    list
}

async fn serve(sim: &Sim, eviction: &str) -> Gateway {
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(evicting_pool(sim, eviction));
    Setup::with(list).serve().await
}

fn short() -> Call {
    Call::json(CHAT, json!({"model": "qwen", "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]}).to_string())
}

/// Batch work that takes longer than the test.
async fn batch_stream(gateway: &Gateway) -> Open {
    let open = Call::chat_stream("qwen", "work through all of this", 5000).header(OBJECTIVE, "batch").open(gateway.http()).await;
    assert_eq!(open.status, 200);
    open
}

#[tokio::test]
async fn a_stream_of_batch_work_gives_way_with_an_error_event() {
    let sim = slow().await;
    let gateway = serve(&sim, "true").await;
    let mut batch = batch_stream(&gateway).await;
    let reply = wait::within("the other's answer", short().header("x-request-id", "urgent").send(gateway.http())).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (text, error) = wait::within("its end", batch.rest()).await;
    assert!(text.contains("broken off for more important ones") && text.contains("rate_limit_error"), "{text}");
    assert!(error.is_some() && !text.contains("[DONE]"), "{text}");
    let line = gateway.logged("it", |line| line["flag"] == "SH").await;
    assert!(line["status"] == 200 && line["detail"].as_str().unwrap().contains("evicted"), "{line}");
    let evicted = ["priority=\"-5\"", "outcome=\"evicted-priority\""];
    assert_eq!(gateway.metric("pailou_queue_outcomes_total", &evicted).await, 1.0);
    let idle = async { while gateway.metric("pailou_endpoint_requests_active", &[]).await != 0.0 {} };
    wait::within("all places are given back", idle).await;
}

#[tokio::test]
async fn batch_work_without_a_response_yet_is_answered_429_and_others_of_its_priority_do_not_evict_it() {
    let sim = slow().await;
    let gateway = serve(&sim, "true").await;
    let body = json!({"model": "qwen", "max_tokens": 5000, "ignore_eos": true, "messages": [{"role": "user", "content": "work"}]});
    let batch = |ttl: &str| Call::json(CHAT, body.to_string()).header(OBJECTIVE, "batch").header("x-llm-d-inference-ttl", ttl);
    let running = tokio::spawn(batch("1m").send(gateway.http()));
    let is_running = async { while gateway.metric("pailou_endpoint_requests_active", &[]).await != 1.0 {} };
    wait::within("it runs", is_running).await;
    let other = batch("50ms").send(gateway.http()).await;
    assert_eq!(other.header(REASON), "rejected-ttl-expired", "{}", other.text());
    assert_eq!(short().send(gateway.http()).await.status, 200);
    let evicted = wait::within("its refusal", running).await.unwrap();
    assert_eq!((evicted.status.as_u16(), evicted.header(REASON)), (429, "evicted-priority"), "{}", evicted.text());
    assert_eq!(evicted.header("retry-after"), "5");
    assert_eq!(evicted.json()["error"]["type"], "rate_limit_error");
}

#[tokio::test]
async fn an_evicted_request_has_a_receipt_that_says_so() {
    let sim = slow().await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(evicting_pool(&sim, "true"));
    let gateway = Setup::with(list).args(["--receipts-sample", "0"]).serve().await;
    let open = Call::chat_stream("qwen", "work through all of this", 5000).header(OBJECTIVE, "batch");
    let mut batch = open.header("x-request-id", "batch").open(gateway.http()).await;
    let content = async {
        let mut text = String::new();
        while text.split("\"content\":\"").skip(1).all(|rest| rest.starts_with('"')) {
            text.push_str(&String::from_utf8_lossy(&batch.next().await.unwrap().unwrap()));
        }
    };
    wait::within("its first content", content).await;
    assert_eq!(short().send(gateway.http()).await.status, 200);
    wait::within("its end", batch.rest()).await;
    let told = receipt(&gateway, "batch").await;
    assert_eq!((&told["kept"], &told["flag"], &told["status"]), (&json!("failed"), &json!("SH"), &json!(200)), "{told}");
    assert!(told["detail"].as_str().unwrap().contains("evicted"), "{told}");
    assert_eq!((&told["attempts_made"], &told["pick"]["chosen"]), (&json!(1), &told["attempts"][0]["endpoint"]), "{told}");
    assert!(told["attempts"][0]["first_content"].is_f64() && told["attempts"][0]["flag"] == "SH", "{told}");
}

#[tokio::test]
async fn batch_work_gives_way_at_the_pool_that_a_retry_has_turned_it_to() {
    let (sim, broken) = (slow().await, slow().await);
    broken.faults().set([Fault::new(FaultKind::Status(502)).path("/v1/")]);
    // Nearly every request goes to the broken one first.
    let [mut first, mut second] = [objects::to_backend("broken"), objects::to_pool("qwen")];
    (first["weight"], second["weight"]) = (100_000.into(), 1.into());
    let rules = json!([{"backendRefs": [first, second], "retry": {"codes": [502], "attempts": 1, "backoff": "1ms"}}]);
    let mut list = vec![objects::gateway(), objects::route("r", rules), objects::backend("broken", &[broken.addr()])];
    list.extend(evicting_pool(&sim, "true"));
    let gateway = Setup::with(list).serve().await;
    let body = json!({"model": "qwen", "max_tokens": 5000, "ignore_eos": true, "messages": [{"role": "user", "content": "work"}]});
    let running = tokio::spawn(Call::json(CHAT, body.to_string()).header(OBJECTIVE, "batch").send(gateway.http()));
    let pool = ["backend=\"pool/default/qwen\""];
    let is_running = async { while gateway.metric("pailou_endpoint_requests_active", &pool).await != 1.0 {} };
    wait::within("it runs at the pool", is_running).await;
    let reply = wait::within("the other's answer", short().send(gateway.http())).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let evicted = wait::within("its refusal", running).await.unwrap();
    assert_eq!((evicted.status.as_u16(), evicted.header(REASON)), (429, "evicted-priority"), "{}", evicted.text());
    assert!(broken.stats().requests >= 1);
}

#[tokio::test]
async fn without_the_annotation_nothing_is_broken_off() {
    let sim = slow().await;
    let gateway = serve(&sim, "false").await;
    let batch = batch_stream(&gateway).await;
    let reply = short().header("x-llm-d-inference-ttl", "100ms").send(gateway.http()).await;
    assert_eq!(reply.header(REASON), "rejected-ttl-expired", "{}", reply.text());
    assert_eq!(gateway.metric("pailou_queue_outcomes_total", &["outcome=\"evicted-priority\""]).await, 0.0);
    drop(batch);
}

#[tokio::test]
async fn a_picker_for_other_gateways_evicts_alike() {
    let sim = slow().await;
    let picker = Picker::serve("qwen", evicting_pool(&sim, "true"), &[]).await;
    let gateway = crate::picker::gateway(&[&sim], &picker, "FailClose", []).await;
    let mut batch = batch_stream(&gateway).await;
    let reply = wait::within("the other's answer", short().send(gateway.http())).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (text, error) = wait::within("its end", batch.rest()).await;
    assert!(error.is_some() && !text.contains("[DONE]"), "{text}");
    assert_eq!(picker.metric("pailou_queue_outcomes_total", &["outcome=\"evicted-priority\""]).await, 1.0);
}
