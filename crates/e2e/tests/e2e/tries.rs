//! Requests that an operator tries from the page.

use pailou_e2e::client::Call;
use pailou_e2e::gateway::{Gateway, HTTP, Setup};
use pailou_e2e::{objects, wait};
use pailou_sim::{Config, Sim};
use serde_json::{Value, json};

use crate::support::{engine, instant, pool_of};

fn models(engines: &[&Sim]) -> Vec<Value> {
    let rules = json!([{"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_pool("qwen")]}]);
    let mut list = vec![objects::gateway(), objects::route("models", rules)];
    list.extend(pool_of("qwen", engines));
    list
}

fn post(document: &Value) -> Call {
    Call::json("/try", document.to_string()).host("localhost:15000")
}

fn chat(stream: bool, tokens: u32) -> Value {
    json!({"listener": HTTP, "path": "/v1/chat/completions", "headers": {"x-request-id": "tried"}, "body": {
        "model": "qwen", "stream": stream, "max_tokens": tokens, "min_tokens": tokens, "ignore_eos": true,
        "messages": [{"role": "user", "content": "hello"}],
    }})
}

async fn form(gateway: &Gateway) -> Value {
    Call::get("/try").host("localhost").send(gateway.admin()).await.json()
}

#[tokio::test]
async fn nothing_is_sent_unless_it_is_switched_on() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).serve().await;
    assert_eq!(post(&chat(false, 2)).send(gateway.admin()).await.status, 403);
    let shown = form(&gateway).await;
    assert_eq!((&shown["enabled"], &shown["listeners"][0]["port"]), (&json!(false), &json!(HTTP)));
    assert!(shown["why"].as_str().unwrap().contains("--admin-try"));
    assert_eq!(gateway.metric("pailou_requests_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_request_is_tried_and_its_response_comes_back_as_text() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--admin-try"]).serve().await;
    let shown = form(&gateway).await;
    assert_eq!((&shown["enabled"], &shown["models"]), (&json!(true), &json!(["qwen"])), "{shown}");
    let reply = post(&chat(false, 2)).send(gateway.admin()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("x-pailou-try-status"), reply.header("x-pailou-try-id")),
        (200, "200", "tried")
    );
    assert_eq!(
        (reply.header("content-type"), reply.header("x-pailou-try-type")),
        ("text/plain; charset=utf-8", "application/json")
    );
    assert_eq!(reply.json()["object"], "chat.completion");
    let reply = post(&chat(true, 3)).send(gateway.admin()).await;
    assert!(reply.header("x-pailou-try-type").starts_with("text/event-stream") && reply.text().ends_with("data: [DONE]\n\n"));

    let unknown = json!({"listener": HTTP, "path": "/v1/chat/completions", "body": {"model": "unknown", "messages": []}});
    let reply = post(&unknown).send(gateway.admin()).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-pailou-try-status")), (200, "404"));
    assert_eq!(post(&json!({"listener": 81, "path": "/"})).send(gateway.admin()).await.status, 400);
    assert_eq!(post(&json!({"listener": HTTP, "path": "http://elsewhere.test/"})).send(gateway.admin()).await.status, 400);
    assert_eq!(
        post(&json!({"listener": HTTP, "path": "/", "url": "http://elsewhere.test"})).send(gateway.admin()).await.status,
        400
    );
    let long = json!({"listener": HTTP, "path": "/", "body": "x".repeat(5 << 20)});
    assert_eq!(post(&long).try_send(gateway.admin()).await.map_or(413, |reply| reply.status.as_u16()), 413);
}

#[tokio::test]
async fn pages_of_other_sites_and_forms_try_nothing() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--admin-try"]).serve().await;
    let from = |site: &str| post(&chat(false, 2)).header("sec-fetch-site", site);
    for site in ["cross-site", "same-site"] {
        assert_eq!(from(site).send(gateway.admin()).await.status, 403, "{site}");
    }
    assert_eq!(post(&chat(false, 2)).host("rebound.test").send(gateway.admin()).await.status, 421);
    let form = Call::post("/try", chat(false, 2).to_string()).host("localhost").header("content-type", "text/plain");
    assert_eq!(form.send(gateway.admin()).await.status, 415);
    assert_eq!(from("same-origin").send(gateway.admin()).await.status, 200);
    assert_eq!(gateway.metric("pailou_requests_total", &[]).await, 1.0);
}

#[tokio::test]
async fn an_operator_who_leaves_cancels_the_request() {
    let config = Config { time_scale: 100.0, ..Config::new("slow", ["qwen"]) };
    let sim = engine(config).await;
    let gateway = Setup::with(models(&[&sim])).args(["--admin-try"]).serve().await;
    let mut open = post(&chat(true, 5000)).open(gateway.admin()).await;
    assert_eq!((open.status.as_u16(), open.next().await.is_some()), (200, true));
    drop(open);
    let gone = async { while gateway.metric("pailou_response_flags_total", &["flag=\"DC\""]).await < 1.0 {} };
    wait::within("the gateway sees that the client left", gone).await;
}
