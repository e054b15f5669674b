//! The request path over real sockets: a proxy, simulated engines, a client.

use std::{sync::Arc, time::Duration};

use pailou_sim::{Config, Fault, FaultKind, Sim};
use pailou_snapshot::CircuitBreaker;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::support::by_hand::{Gateway, chat, read_until};

async fn engine(name: &str) -> Sim {
    Sim::start(Config::new(name, ["qwen"]).instant()).await.unwrap()
}

const CALL: &str = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":4,"model":"qwen"}"#;
const STREAM: &str = r#"{"model":"qwen","stream":true,"max_tokens":4,"messages":[{"role":"user","content":"hi"}]}"#;

#[tokio::test]
async fn a_call_goes_to_the_pool_of_the_model_it_names() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let answer = gateway.chat(CALL).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("x-sim-server: a"), "{answer}");
    let seen = engine.stats().last_request.unwrap();
    assert!(seen.headers.iter().any(|(name, value)| name == "x-gateway-model-name" && value == "qwen"), "{:?}", seen.headers);
}

#[tokio::test]
async fn an_unknown_model_is_told_in_the_clients_terms() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let body = r#"{"model":"gpt-9","messages":[]}"#;
    let request = chat(body).replace("host:", "X-Gateway-Model-Name: qwen\r\nhost:");
    let answer = gateway.exchange(&request, |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains(r#""code":"model_not_found""#), "{answer}");
    assert!(answer.contains("x-pailou-response-flag: NR"), "{answer}");
    assert_eq!(engine.stats().requests, 0);
}

#[tokio::test]
async fn a_request_that_names_no_model_is_told_why() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let json = "content-type: application/json";
    let form = "content-type: multipart/form-data; boundary=b";
    for (head, body, status, why) in [
        (json, r#"{"messages":[]}"#, 404, "has no `model` that is a string"),
        (json, r#"{"model":7}"#, 404, "has no `model` that is a string"),
        (json, "", 404, "there is no body"),
        ("content-type: image/png", r#"{"model":"qwen"}"#, 404, "send it with Content-Type: application/json"),
        // Model servers answer 400 to these.
        (json, r#"{"model":"#, 400, "the body is not JSON (byte 9)"),
        (json, r#"{"model":"qwen","#, 400, "the body is not JSON (byte 16)"),
        (json, r#"["model"]"#, 400, "the body is not a JSON object"),
        (json, r#"{"model":"\ud800"}"#, 400, "half a surrogate pair"),
        (form, "--b\r\ncontent-disposition: form-data; name=model\r\n\r\nqw", 400, "the body is not a form"),
        ("content-type: application/json\r\ncontent-encoding: gzip", "\u{1f}", 400, "is not gzip"),
    ] {
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = gateway.exchange(&request, |_| false).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(why), "{body}: {answer}");
        assert!(status == 404 || answer.contains(r#""type":"invalid_request_error""#), "{body}: {answer}");
    }
    assert_eq!(engine.stats().requests, 0);
}

#[tokio::test]
async fn an_offer_of_h2c_is_passed_over() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let offer = "connection: close, Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nhost:";
    let answer = gateway.exchange(&chat(CALL).replace("host:", offer), |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("x-sim-server: a"), "{answer}");
    let seen = engine.stats().last_request.unwrap();
    assert!(!seen.headers.iter().any(|(name, _)| name == "upgrade" || name == "http2-settings"), "{:?}", seen.headers);
}

#[tokio::test]
async fn a_request_that_goes_in_circles_is_stopped() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let after = |passed: usize| format!("x-forwarded-for: 10.0.0.1{}\r\nhost:", ", 10.0.0.1".repeat(passed - 1));
    let answer = gateway.exchange(&chat(CALL).replace("host:", &after(99)), |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let answer = gateway.exchange(&chat(CALL).replace("host:", &after(100)), |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 508"), "{answer}");
    assert_eq!(engine.stats().requests, 1);
}

#[tokio::test]
async fn a_body_coded_beneath_its_chunks_is_refused() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: gzip, chunked\r\n\r\n{:x}\r\n{CALL}\r\n0\r\n\r\n",
        CALL.len()
    );
    let answer = gateway.exchange(&request, |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
    assert_eq!(engine.stats().requests, 0);
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_no_answer() {
    let backend = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&[backend.local_addr().unwrap()], |_| {});
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = backend.accept().await.unwrap();
            read_until(&mut stream, |read| read.contains("\r\n\r\n")).await;
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await.unwrap();
        }
    });
    let answer = gateway.chat(CALL).await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("x-pailou-response-flag: UPE"), "{answer}");
}

#[tokio::test]
async fn bodies_that_are_announced_and_do_not_come_take_no_room() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    // Together more than the process may hold; the interim response says that the body is waited for.
    let announced = chat("").replace("content-length: 0", &format!("expect: 100-continue\r\ncontent-length: {}", 1 << 20));
    let mut waiting = Vec::new();
    for _ in 0..70 {
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        client.write_all(announced.as_bytes()).await.unwrap();
        let said = read_until(&mut client, |read| read.ends_with("\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 100"), "{said}");
        waiting.push(client);
    }
    let answer = gateway.chat(CALL).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_body_in_bad_chunks_is_a_bad_request() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let request = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let answer = gateway.exchange(request, |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("x-pailou-response-flag: DPE"), "{answer}");
    assert_eq!(engine.stats().requests, 0);
}

#[tokio::test]
async fn a_stream_passes_to_its_last_event() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let answer = gateway.chat(STREAM).await;
    assert!(answer.contains("text/event-stream") && answer.contains("data: [DONE]"), "{answer}");
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_refused_connection_and_a_503_move_on_to_the_next_engine() {
    let (dead, busy, good) = (engine("dead").await, engine("busy").await, engine("good").await);
    let dead_address = dead.addr();
    dead.kill().await;
    busy.faults().add(Fault::new(FaultKind::Status(503)));
    let gateway = Gateway::start(&[dead_address, busy.addr(), good.addr()], |_| {});
    for _ in 0..12 {
        let answer = gateway.chat(CALL).await;
        assert!(answer.contains("x-sim-server: good"), "{answer}");
    }
}

#[tokio::test]
async fn without_an_endpoint_the_answer_is_503() {
    let gateway = Gateway::start(&[], |_| {});
    let answer = gateway.chat(CALL).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-pailou-response-flag: UH"), "{answer}");
}

#[tokio::test]
async fn an_engine_that_dies_in_mid_stream_never_looks_finished() {
    let engine = engine("a").await;
    engine.faults().add(Fault::new(FaultKind::Reset(Some(3))));
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let answer = gateway.chat(&STREAM.replace("\"max_tokens\":4", "\"max_tokens\":40")).await;
    assert!(answer.contains("data: {\"error\":"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n") && !answer.contains("[DONE]"), "{answer}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let head = chat("").replace("content-length: 0", "content-length: 9999999");
    let answer = gateway.exchange(&head, |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains(r#""error":{"message""#), "{answer}");
}

#[tokio::test]
async fn with_a_limit_of_one_the_second_request_is_refused() {
    let engine = engine("a").await;
    engine.faults().add(Fault::new(FaultKind::Delay(Duration::from_millis(500))).times(1));
    let limits = CircuitBreaker { max_parallel_requests: 1, ..CircuitBreaker::default() };
    let gateway = Gateway::start(&[engine.addr()], |rule| Arc::make_mut(&mut rule.policy).breaker = Some(limits));
    let (first, second) = tokio::join!(gateway.chat(CALL), async {
        sleep(Duration::from_millis(150)).await;
        gateway.chat(CALL).await
    });
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    assert!(second.starts_with("HTTP/1.1 503") && second.contains("x-envoy-overloaded: true"), "{second}");
    assert!(gateway.chat(CALL).await.starts_with("HTTP/1.1 200"), "the place was given back");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_from_the_engine() {
    let config = Config::new("slow", ["qwen"]);
    let engine = Sim::start(config).await.unwrap();
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let body = STREAM.replace("\"max_tokens\":4", "\"max_tokens\":20000,\"ignore_eos\":true");
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(chat(&body).as_bytes()).await.unwrap();
    read_until(&mut client, |answer| answer.contains("data: ")).await;
    let left = Instant::now();
    drop(client);
    while engine.stats().aborts == 0 {
        assert!(left.elapsed() < Duration::from_secs(5), "the engine goes on: {:?}", engine.stats());
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_requests_time_is_up_before_and_in_the_middle_of_a_response() {
    let engine = engine("a").await;
    let gateway = Gateway::start(&[engine.addr()], |rule| {
        Arc::make_mut(&mut rule.policy).timeouts.request = Some(Duration::from_millis(300))
    });
    engine.faults().set([Fault::new(FaultKind::Stall(None))]);
    let answer = gateway.chat(CALL).await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("x-pailou-response-flag: UT"), "{answer}");
    engine.faults().set([Fault::new(FaultKind::Stall(Some(3)))]);
    let answer = gateway.chat(&STREAM.replace("\"max_tokens\":4", "\"max_tokens\":40")).await;
    assert!(answer.contains("data: {\"error\":") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_drain_lets_a_stream_come_to_its_end() {
    let engine = Sim::start(Config::new("slow", ["qwen"])).await.unwrap();
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(chat(&STREAM.replace("\"max_tokens\":4", "\"max_tokens\":20,\"ignore_eos\":true")).as_bytes()).await.unwrap();
    read_until(&mut client, |answer| answer.contains("data: ")).await;
    assert!(gateway.proxy.ready());
    let (cut, rest) = tokio::join!(gateway.proxy.drain(Duration::from_secs(10)), read_until(&mut client, |_| false));
    assert_eq!(cut, 0);
    assert!(rest.contains("[DONE]") && rest.ends_with("0\r\n\r\n"), "{rest}");
    assert!(!gateway.proxy.ready());
    assert!(TcpStream::connect(gateway.address).await.is_err(), "nobody listens any more");
}
