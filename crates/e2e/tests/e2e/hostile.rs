//! Requests that are not valid HTTP, or try to be two things at once.

use std::time::Duration;

use pailou_e2e::client::Call;
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::objects;
use pailou_e2e::wire::{Server, Wire, header};
use pailou_sim::Sim;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{everything_to, instant};

async fn gateway() -> (Gateway, Sim) {
    let sim = instant("a", "qwen").await;
    let route = objects::route("r", everything_to(objects::to_backend("b")));
    (Setup::with([objects::gateway(), route, objects::backend("b", &[sim.addr()])]).serve().await, sim)
}

/// Everything the gateway says to these bytes, until it closes the connection or has nothing more to say.
async fn said_to(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> String {
    let mut wire = Wire::connect(gateway.http()).await;
    // It may close the connection before it has taken them all.
    let _ = wire.write(bytes).await;
    let mut said = Vec::new();
    let patience = |said: &[u8]| Duration::from_millis(if said.is_empty() { 5000 } else { 500 });
    while let Ok(Ok(some)) = timeout(patience(&said), wire.some()).await
        && !some.is_empty()
    {
        said.extend(some);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn malformed_requests_get_400_and_reach_no_backend() {
    let (gateway, sim) = gateway().await;
    let cases = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET / HTTP/9.1\r\nhost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    for case in cases {
        let said = said_to(&gateway, case).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.0 400 "), "{case:?}: {said}");
        assert!(said.matches("HTTP/1.").count() <= 1, "{case:?}: {said}");
    }
    assert_eq!(sim.stats().requests, 0);
}

#[tokio::test]
async fn a_second_request_cannot_be_hidden_in_the_first() {
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    let length = |body: &str| body.len();
    let both = format!("0\r\n\r\n{hidden}");
    let cases = [
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n{both}", length(&both)),
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n{both}"),
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{hidden}"),
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n{hidden}"),
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x0\r\n\r\n{hidden}"),
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n{hidden}"),
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\u{b}: chunked\r\n\r\n{both}"),
        format!("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()),
    ];
    for case in cases {
        let (gateway, sim) = gateway().await;
        let said = said_to(&gateway, &case).await;
        let last = sim.stats().last_request.map(|request| request.path);
        assert_ne!(last.as_deref(), Some("/hidden"), "{case:?}: {said}");
    }
}

#[tokio::test]
async fn headers_of_one_hop_stay_on_it() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = Server::start(move |mut wire| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(wire.request().await?.head);
            let answer = "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-end: 1\r\ncontent-length: 0\r\n\r\n";
            wire.write(answer).await
        }
    })
    .await;
    let route = objects::route("r", everything_to(objects::to_backend("b")));
    let gateway = Setup::with([objects::gateway(), route, objects::backend("b", &[server.address])]).serve().await;
    let mut wire = Wire::connect(gateway.http()).await;
    let ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, x-first\r\nconnection: x-second\r\nx-first: 1\r\nx-second: 1\r\n\
        keep-alive: 5\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic c2VjcmV0\r\nte: gzip\r\nupgrade: h2c\r\nx-end: 1\r\n\r\n";
    wire.write(ask).await.unwrap();
    let answer = wire.head().await;
    let received = told.recv().await.unwrap();
    for name in ["x-first", "x-second", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"] {
        assert_eq!(header(&received, name), None, "{name} reached the backend:\n{received}");
    }
    assert_eq!(header(&received, "x-end"), Some("1"));
    for name in ["x-hop", "keep-alive"] {
        assert_eq!(header(&answer, name), None, "{name} reached the client:\n{answer}");
    }
    assert_eq!(header(&answer, "x-end"), Some("1"));
}

#[tokio::test]
async fn the_uris_host_counts_before_the_headers() {
    let (gateway, _sim) = gateway().await;
    let said =
        said_to(&gateway, "GET http://real.test/x HTTP/1.1\r\nhost: other.test\r\nx-sim-echo: 1\r\nconnection: close\r\n\r\n")
            .await;
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains(r#""real.test""#) && !said.contains("other.test"), "{said}");
}

#[tokio::test]
async fn heads_beyond_measure_are_refused() {
    let (gateway, sim) = gateway().await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(4 << 20));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100_000));
    let path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "p".repeat(1 << 20));
    for request in [long, many, path] {
        let said = said_to(&gateway, &request).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    assert_eq!(sim.stats().requests, 0);
    assert_eq!(Call::get("/").echo().send(gateway.http()).await.status, 200, "and it serves on");
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for_by_others() {
    let (gateway, _sim) = gateway().await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut wire = Wire::connect(gateway.http()).await;
        wire.write("GET / HTTP/1.1\r\nhost:").await.unwrap();
        slow.push(wire);
    }
    assert_eq!(Call::get("/").echo().send(gateway.http()).await.status, 200);
}

/// A client's bytes, and the log of them: status, code, detail.
const NO_REQUESTS: &[(&str, Option<u16>, &str, &str)] = &[
    ("GET / HTTP/1.1\r\nhost: a\r\nsecret : s3cret\r\n\r\n", Some(400), "400", "invalid header name"),
    ("\x16\x03\x01\0\x05hello, I speak TLS\r\n\r\n", Some(400), "400", "invalid token"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Some(400),
        "400",
        "contradict each other",
    ),
    // SETTINGS, and DATA on a stream that no data may come by.
    (
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\0x",
        None,
        "PROTOCOL_ERROR",
        "unspecific protocol error detected",
    ),
];

#[tokio::test]
async fn what_is_no_request_is_logged_and_counted() {
    let (gateway, _sim) = gateway().await;
    for (said, status, code, detail) in NO_REQUESTS {
        let mut wire = Wire::connect(gateway.http()).await;
        wire.write(said).await.unwrap();
        wire.rest().await;
        let of_it = |line: &Value| line["detail"].as_str().is_some_and(|told| told.contains(detail));
        let line = gateway.logged(detail, of_it).await;
        assert_eq!((&line["flag"], &line["status"]), (&json!("DPE"), &json!(status)), "{line}");
        let protocol = if status.is_some() { "HTTP/1.1" } else { "HTTP/2.0" };
        assert_eq!(line["protocol"], protocol, "{line}");
        assert!(line["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{line}");
        let labels = [&*format!("protocol=\"{protocol}\""), &*format!("code=\"{code}\"")];
        assert!(gateway.metric("pailou_client_protocol_errors_total", &labels).await >= 1.0, "{labels:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "p".repeat(70 << 10));
    said_to(&gateway, long).await;
    gateway.logged("a head that is too long", |line| line["status"] == 431 && line["flag"] == "DPE").await;
    let count = (NO_REQUESTS.len() + 1) as f64;
    assert_eq!(gateway.metric("pailou_client_protocol_errors_total", &[]).await, count);
    assert_eq!(gateway.metric("pailou_response_flags_total", &["DPE"]).await, count);
    assert_eq!(gateway.metric("pailou_requests_active", &[]).await, 0.0);
    let log = gateway.stdout();
    assert!(!log.contains("s3cret") && !log.contains("ppp") && log.lines().all(|line| line.len() < 400), "{log}");
}
