//! Engines that die, hang or talk nonsense, and clocks that run out.

use std::time::{Duration, Instant};

use pailou_e2e::client::{CHAT, Call, Connection};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::wire::{Server, Wire};
use pailou_e2e::{objects, wait};
use pailou_sim::{Fault, FaultKind, Sim};
use serde_json::{Value, json};

use crate::support::{events, everything_to, instant, pool_of};

/// A pool of one engine, which has this fault for model calls.
async fn faulty(kind: FaultKind, more: impl IntoIterator<Item = Value>) -> (Gateway, Sim) {
    let sim = instant("a", "qwen").await;
    sim.faults().set([Fault::new(kind).path("/v1/")]);
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&sim]));
    list.extend(more);
    (Setup::with(list).serve().await, sim)
}

/// A streamed chat as bytes, to the connection's end.
async fn raw_stream(gateway: &Gateway) -> String {
    let body =
        json!({"model": "qwen", "messages": [{"role": "user", "content": "hi"}], "stream": true, "max_tokens": 30}).to_string();
    let mut wire = Wire::connect(gateway.http()).await;
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    wire.write(head + &body).await.unwrap();
    wire.rest().await.0
}

/// A stream that was cut must not look whole: it ends with an error event and without the chunk that ends a body.
fn assert_cut(raw: &str) {
    assert!(raw.starts_with("HTTP/1.1 200 "), "{raw}");
    assert!(!raw.ends_with("0\r\n\r\n"), "a clean end: {raw}");
    let last = events(raw).pop().unwrap_or_else(|| panic!("no event: {raw}"));
    assert!(last["error"]["message"].is_string(), "{last}");
    assert!(!raw.contains("[DONE]"));
}

#[tokio::test]
async fn an_engine_that_dies_mid_stream_breaks_the_clients_stream() {
    for kind in [FaultKind::Reset(Some(5)), FaultKind::Close(5)] {
        let (gateway, _sim) = faulty(kind, []).await;
        let raw = raw_stream(&gateway).await;
        assert_cut(&raw);
        assert_eq!(events(&raw).len(), 6, "what the engine said, and the error: {raw}");
        let line = gateway.logged("the request", |line| line["path"] == CHAT).await;
        assert_eq!((&line["status"], &line["flag"]), (&200.into(), &"UC".into()), "{line}");
    }
}

#[tokio::test]
async fn an_event_that_an_engine_broke_off_is_ended_before_the_error() {
    for (begun, whole) in [("data: {\"choi", 2), ("event: x\r\n", 1), (": pi", 1), ("", 1)] {
        let server = Server::start(move |mut wire| async move {
            wire.request().await?;
            wire.begin_events().await?;
            wire.chunk(format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n{begun}")).await?;
            wire.reset();
            Ok(())
        })
        .await;
        let route = objects::route("r", everything_to(objects::to_backend("b")));
        let gateway = Setup::with([objects::gateway(), route, objects::backend("b", &[server.address])]).serve().await;
        let mut stream = Call::chat_stream("m", "hi", 5).open(gateway.http()).await;
        let (text, error) = stream.rest().await;
        assert!(error.is_some(), "{text}");
        let events: Vec<_> = text.replace("\r\n", "\n").split_terminator("\n\n").map(str::to_owned).collect();
        assert_eq!(events.len(), if begun.is_empty() { 2 } else { 3 }, "{text:?}");
        assert_eq!(events.iter().filter(|event| event.starts_with("data: ")).count(), whole + 1, "{text:?}");
        let last: Value = serde_json::from_str(events.last().unwrap().strip_prefix("data: ").unwrap()).unwrap();
        assert!(last["error"]["message"].is_string(), "{last}");
    }
}

#[tokio::test]
async fn an_http2_client_sees_the_break_as_a_reset() {
    let (gateway, _sim) = faulty(FaultKind::Reset(Some(5)), []).await;
    let connection = Connection::http2(gateway.http()).await.unwrap();
    let mut stream = connection.open(Call::chat_stream("qwen", "hi", 30)).await.unwrap();
    let (text, error) = stream.rest().await;
    assert!(error.is_some(), "a clean end: {text}");
    assert!(events(&text).pop().unwrap()["error"].is_object(), "{text}");
}

#[tokio::test]
async fn a_stream_that_lasts_until_its_connection_ends_must_have_said_its_last_word() {
    for (last, cut) in [("data: [DONE]\n\n", false), ("", true)] {
        let server = Server::start(move |mut wire| async move {
            wire.request().await?;
            let content = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
            wire.write(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{content}{last}"))
                .await
        })
        .await;
        let route = objects::route("r", everything_to(objects::to_backend("b")));
        let gateway = Setup::with([objects::gateway(), route, objects::backend("b", &[server.address])]).serve().await;
        let mut stream = Call::chat_stream("m", "hi", 5).open(gateway.http()).await;
        let (text, error) = stream.rest().await;
        assert_eq!(error.is_some(), cut, "{text}");
    }
}

#[tokio::test]
async fn half_a_body_is_not_passed_on_as_a_whole_one() {
    let (gateway, _sim) = faulty(FaultKind::Close(1), []).await;
    let mut answer = Call::chat("qwen", "hi").open(gateway.http()).await;
    assert_eq!(answer.status, 200);
    let (text, error) = answer.rest().await;
    assert!(error.is_some(), "{text}");
}

#[tokio::test]
async fn an_engine_that_dies_before_it_answers_is_told_as_such() {
    for (kind, statuses) in [(FaultKind::Reset(None), [502, 503]), (FaultKind::Garbage, [502, 503])] {
        let (gateway, sim) = faulty(kind, []).await;
        let reply = Call::chat("qwen", "hi").send(gateway.http()).await;
        assert!(statuses.contains(&reply.status.as_u16()), "{kind:?}: {} {}", reply.status, reply.text());
        assert!(reply.json()["error"]["message"].is_string());
        // Work is not asked for twice unless a policy says so.
        assert_eq!(sim.stats().requests, 1, "{kind:?}");
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_gets_504() {
    let timeout = objects::on_gateway("BackendTrafficPolicy", json!({"timeout": {"http": {"requestTimeout": "300ms"}}}));
    let (gateway, _sim) = faulty(FaultKind::Stall(None), [timeout]).await;
    let began = Instant::now();
    let reply = Call::chat("qwen", "hi").send(gateway.http()).await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert!(reply.json()["error"]["message"].is_string());
    assert!(began.elapsed() >= Duration::from_millis(290));
    let line = gateway.logged("the request", |line| line["path"] == CHAT).await;
    assert_eq!(line["flag"], "UT");
}

#[tokio::test]
async fn a_stream_that_takes_too_long_is_broken_off() {
    let timeout = objects::on_gateway("BackendTrafficPolicy", json!({"timeout": {"http": {"requestTimeout": "500ms"}}}));
    let (gateway, _sim) = faulty(FaultKind::Stall(Some(4)), [timeout]).await;
    assert_cut(&raw_stream(&gateway).await);
}

#[tokio::test]
async fn a_stream_without_a_limit_is_bounded_by_its_idle_clock() {
    let unlimited = objects::on_gateway("BackendTrafficPolicy", json!({"timeout": {"http": {"requestTimeout": "0s"}}}));
    let idle = objects::on_gateway("ClientTrafficPolicy", json!({"timeout": {"http": {"streamIdleTimeout": "500ms"}}}));
    let (gateway, _sim) = faulty(FaultKind::Stall(Some(4)), [unlimited, idle]).await;
    assert_cut(&raw_stream(&gateway).await);
    let line = gateway.logged("the request", |line| line["path"] == CHAT).await;
    assert_eq!(line["flag"], "SI");
}

#[tokio::test]
async fn a_route_of_24_hours_lives_past_every_shorter_clock() {
    let day = objects::on_gateway("BackendTrafficPolicy", json!({"timeout": {"http": {"requestTimeout": "24h"}}}));
    let idle = objects::on_gateway("ClientTrafficPolicy", json!({"timeout": {"http": {"streamIdleTimeout": "500ms"}}}));
    let (gateway, _sim) = faulty(FaultKind::Delay(Duration::from_millis(1500)), [day, idle]).await;
    assert_eq!(Call::chat("qwen", "hi").send(gateway.http()).await.status, 200);
}

#[tokio::test]
async fn the_routes_own_timeout_counts_before_the_policys() {
    let timeout = objects::on_gateway("BackendTrafficPolicy", json!({"timeout": {"http": {"requestTimeout": "100ms"}}}));
    let (gateway, sim) = faulty(FaultKind::Delay(Duration::from_millis(700)), [timeout.clone()]).await;
    assert_eq!(Call::chat("qwen", "hi").send(gateway.http()).await.status, 504);
    let rules = json!([{"backendRefs": [objects::to_pool("qwen")], "timeouts": {"request": "20s"}}]);
    let mut list = vec![objects::gateway(), objects::route("r", rules), timeout];
    list.extend(pool_of("qwen", &[&sim]));
    gateway.save_objects(list);
    let longer = async { while Call::chat("qwen", "hi").send(gateway.http()).await.status != 200 {} };
    wait::within("the route's own timeout holds", longer).await;
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_let_go() {
    let limit = objects::on_gateway("ClientTrafficPolicy", json!({"timeout": {"http": {"requestReceivedTimeout": "500ms"}}}));
    let sim = instant("a", "qwen").await;
    let rules = json!([{"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_pool("qwen")]}]);
    let mut list = vec![objects::gateway(), objects::route("r", rules), limit];
    list.extend(pool_of("qwen", &[&sim]));
    let gateway = Setup::with(list).serve().await;
    let mut wire = Wire::connect(gateway.http()).await;
    wire.write(format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"))
        .await
        .unwrap();
    let (answer, _) = wire.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(sim.stats().requests, 0);
}

#[tokio::test]
async fn a_connection_that_the_engine_closed_meanwhile_fails_no_request() {
    let server = Server::start(|mut wire| async move {
        let received = wire.request().await?;
        wire.answer(200, &json!({"length": received.body.len()}).to_string()).await
    })
    .await;
    let route = objects::route("r", everything_to(objects::to_backend("b")));
    let gateway = Setup::with([objects::gateway(), route, objects::backend("b", &[server.address])]).serve().await;
    let mut connection = Connection::http1(gateway.http()).await.unwrap();
    for turn in 0..100 {
        // At every second turn there is time for the close to arrive.
        if turn % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let reply = connection.send(Call::json("/v1/rerank", "{}")).await.unwrap();
        assert_eq!(reply.status, 200, "turn {turn}: {}", reply.text());
    }
}
