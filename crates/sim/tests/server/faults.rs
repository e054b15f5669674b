use std::io::ErrorKind;
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use pailou_sim::{Fault, FaultKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, TEST_TIMEOUT, events, eventually, instant, request, text};

const CHAT: &str = "/v1/chat/completions";

fn chat() -> Value {
    json!({"model": "qwen", "messages": [{"role": "user", "content": "hello"}], "stream": true})
}

/// Sends the request by hand and reads all there is; the error at the end, if one ends it.
async fn raw(sim: &pailou_sim::Sim, wait: Duration) -> (Vec<u8>, Option<ErrorKind>) {
    let mut tcp = TcpStream::connect(sim.addr()).await.expect("the server accepts");
    let body = chat().to_string();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: sim.test\r\ncontent-length: {}\r\n\r\n", body.len());
    tcp.write_all((head + &body).as_bytes()).await.expect("the server takes the request");
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(wait, tcp.read_to_end(&mut bytes)).await;
    let error = match end {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.kind()),
        Err(_) => Some(ErrorKind::TimedOut),
    };
    (bytes, error)
}

#[tokio::test]
async fn the_next_requests_get_the_status_asked_for() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let fault = json!({"kind": "status", "status": 503, "times": 2});
    let (status, list) = client.json("/sim/faults", &fault).await;
    assert_eq!((status.as_u16(), &list["faults"][0]["times"]), (200, &json!(2)));
    for expected in [503, 503, 200] {
        let response = client.post(CHAT, &chat()).await.unwrap();
        assert_eq!(response.status(), expected);
        assert_eq!(response.headers().contains_key("retry-after"), expected == 503);
        text(response).await;
    }
    let (status, error) = client.json("/sim/faults", &json!({"kind": "explode"})).await;
    assert_eq!(status, 400);
    assert!(error["error"]["message"].as_str().unwrap().contains("explode"));
}

#[tokio::test]
async fn a_reset_comes_before_the_head_or_after_chunks() {
    let sim = instant().await;
    sim.faults().set([FaultKind::Reset(None).into()]);
    assert_eq!(raw(&sim, TEST_TIMEOUT).await, (vec![], Some(ErrorKind::ConnectionReset)));
    sim.faults().set([FaultKind::Reset(Some(2)).into()]);
    let (bytes, error) = raw(&sim, TEST_TIMEOUT).await;
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
    assert_eq!(String::from_utf8_lossy(&bytes).matches("data: ").count(), 2);
}

#[tokio::test]
async fn a_stall_keeps_the_connection_open_and_says_nothing() {
    let sim = instant().await;
    let wait = Duration::from_millis(150);
    sim.faults().set([FaultKind::Stall(None).into()]);
    assert_eq!(raw(&sim, wait).await, (vec![], Some(ErrorKind::TimedOut)));
    sim.faults().set([FaultKind::Stall(Some(3)).into()]);
    let (bytes, error) = raw(&sim, wait).await;
    assert_eq!(error, Some(ErrorKind::TimedOut));
    assert_eq!(String::from_utf8_lossy(&bytes).matches("data: ").count(), 3);
}

#[tokio::test]
async fn closing_after_the_head_leaves_an_unfinished_body() {
    let sim = instant().await;
    sim.faults().set([FaultKind::Close(0).into()]);
    let (bytes, error) = raw(&sim, TEST_TIMEOUT).await;
    assert_eq!(error, None);
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n") && bytes.ends_with(b"\r\n\r\n"));
    let mut whole = chat();
    whole["stream"] = false.into();
    sim.faults().set([FaultKind::Close(1).into()]);
    let mut client = Client::connect(sim.addr()).await;
    let response = client.post(CHAT, &whole).await.unwrap();
    assert!(response.into_body().collect().await.is_err(), "half a body is not a body");
}

#[tokio::test]
async fn garbage_is_not_http() {
    let sim = instant().await;
    sim.faults().set([FaultKind::Garbage.into()]);
    let (bytes, error) = raw(&sim, TEST_TIMEOUT).await;
    assert_eq!(error, None);
    assert!(!bytes.is_empty() && !bytes.starts_with(b"HTTP"));
}

#[tokio::test]
async fn a_stream_can_end_without_done() {
    let sim = instant().await;
    sim.faults().set([FaultKind::NoDone.into()]);
    let mut client = Client::connect(sim.addr()).await;
    let response = client.post(CHAT, &chat()).await.unwrap();
    let events = events(&text(response).await);
    assert_eq!(events.last().unwrap().data["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn an_early_status_does_not_wait_for_the_body() {
    let sim = instant().await;
    sim.faults().set([Fault::new(FaultKind::EarlyStatus(429)).path("/v1/")]);
    let mut tcp = TcpStream::connect(sim.addr()).await.unwrap();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: sim.test\r\ncontent-length: 1000000\r\n\r\n{{");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(TEST_TIMEOUT, tcp.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 429");
}

#[tokio::test]
async fn delays_and_slow_reading_take_their_time() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let body = "x".repeat(1000);
    for kind in [FaultKind::Delay(Duration::from_millis(100)), FaultKind::SlowRead(10_000)] {
        sim.faults().set([kind.into()]);
        let began = Instant::now();
        let response = client.send(request(Method::POST, "/echo", body.clone())).await.unwrap();
        assert!(text(response).await.contains("\"body_length\":1000"));
        assert!(began.elapsed() >= Duration::from_millis(99), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn refused_connections_are_accepted_again_on_the_same_port() {
    let sim = instant().await;
    let mut before = Client::connect(sim.addr()).await;
    assert_eq!(before.get("/health").await.0, 200);
    assert!(sim.faults().add(FaultKind::Refuse));
    let mut refused = false;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        refused = Client::try_connect(sim.addr()).await.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
        if refused {
            break;
        }
    }
    assert!(refused);
    assert_eq!(before.get("/health").await.0, 200, "open connections stay");
    sim.faults().clear();
    let connecting = async {
        while Client::try_connect(sim.addr()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, connecting).await.unwrap();
}

#[tokio::test]
async fn a_reset_aborts_what_the_engine_was_doing() {
    let sim = crate::client::start(pailou_sim::Config::new("one", ["qwen"])).await;
    sim.faults().set([FaultKind::Reset(Some(2)).into()]);
    let (_, error) = raw(&sim, TEST_TIMEOUT).await;
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
    eventually("the engine hears of it", || sim.stats().aborts == 1 && sim.stats().running == 0).await;
}
