//! Kept connections that a backend closes as the next request comes to it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::objects::{Gateway, backend, route};

/// Ways in which a backend closes a connection on which the next request has come.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// Without reading it, which resets the connection.
    Unread,
    /// After reading it.
    Read,
}

const TO_BACKEND: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}";

/// A backend that answers once on each connection; the connections that it accepted.
async fn once(close: Close) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                request(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                match close {
                    Close::Unread => drop(stream.readable().await),
                    Close::Read => request(&mut stream).await,
                }
            });
        }
    });
    (address, accepted)
}

/// Reads a request whose body, if any, is `{}`.
async fn request(stream: &mut TcpStream) {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        let end = if text.contains("content-length: 2\r") {
            "{}"
        } else if text.contains("transfer-encoding") {
            "\r\n0\r\n\r\n"
        } else {
            "\r\n\r\n"
        };
        if text.ends_with(end) {
            return;
        }
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            return;
        }
    }
}

#[tokio::test]
async fn an_idempotent_request_goes_again_on_a_new_connection() {
    for close in [Close::Unread, Close::Read] {
        let (address, accepted) = once(close).await;
        let gateway = Gateway::serve(&[route(TO_BACKEND), backend("b", address, "")].concat());
        for round in 1..=3 {
            for method in ["GET", "PUT"] {
                let answer = gateway.ask(&format!("{method} / HTTP/1.1\r\nhost: a.test")).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{close:?} {round} {method}: {answer}");
            }
        }
        assert_eq!(accepted.load(Ordering::Relaxed), 6, "{close:?}: each request but the first met a connection that closed");
    }
}

#[tokio::test]
async fn a_model_call_goes_again_and_another_post_does_not() {
    let by_model = "{matches: [{headers: [{name: X-Gateway-Model-Name, value: m}]}], backendRefs: [{group: gateway.envoyproxy.io, \
                    kind: Backend, name: b}]}, {backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}";
    let post = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}")
    };
    for close in [Close::Unread, Close::Read] {
        let (address, _) = once(close).await;
        let gateway = Gateway::serve(&[route(by_model), backend("b", address, "")].concat());
        for (path, again) in [("/v1/chat/completions", "HTTP/1.1 200"), ("/orders", "HTTP/1.1 503")] {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            let first = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
            assert!(first.starts_with("HTTP/1.1 200"), "{first}");
            stream.write_all(post(path).as_bytes()).await.unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&start), again, "{close:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_model_call_that_streams_through_goes_again_too() {
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/json\r\n";
    let whole = format!("{head}content-length: 2\r\n\r\n{{}}");
    let (first, rest) = whole.split_at(whole.len() - 1);
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n");
    let put = whole.replace("POST /v1/chat/completions", "PUT /orders/1");
    let post = whole.replace("/v1/chat/completions", "/orders");
    for close in [Close::Unread, Close::Read] {
        let (address, _) = once(close).await;
        let gateway = Gateway::serve(&[route(TO_BACKEND), backend("b", address, "")].concat());
        for (pieces, again) in [
            (vec![whole.as_str()], "HTTP/1.1 200"),
            (vec![first, rest], "HTTP/1.1 200"),
            (vec![&chunked], "HTTP/1.1 200"),
            (vec![&put], "HTTP/1.1 200"),
            (vec![&post], "HTTP/1.1 503"),
        ] {
            let first = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
            assert!(first.starts_with("HTTP/1.1 200"), "{first}");
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            for piece in &pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&start), again, "{close:?} {pieces:?}");
        }
        assert_eq!(gateway.metric("pailou_retry_abandoned_total"), 0.0);
    }
}

#[tokio::test]
async fn a_long_model_call_goes_out_once_and_is_not_kept() {
    let (address, _) = once(Close::Unread).await;
    let gateway = Gateway::serve(&[route(TO_BACKEND), backend("b", address, "")].concat());
    let first = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    let length = 1 << 17;
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    // Whether its answer comes through, when the body was not read to its end, is left to chance.
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let _ = client.write_all(&[head, " ".repeat(length)].concat().into_bytes()).await;
    let line = gateway.log.line("/v1/chat").await;
    assert!(line.contains(r#""status":503"#) && line.contains(r#""attempts":1"#), "{line}");
    assert_eq!(gateway.metric("pailou_retry_abandoned_total"), 0.0, "no policy asks for retries");
}
