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
        if text.ends_with(if text.contains("content-length: 2") { "{}" } else { "\r\n\r\n" }) {
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
