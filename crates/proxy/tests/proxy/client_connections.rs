//! Limits of clients' connections and streams, and what a listener makes of Host and `X-Forwarded-For`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::objects::{Gateway, backend, route};

const LONG: Duration = Duration::from_secs(20);
const TO_BACKEND: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A backend that answers every request, and keeps the heads it gets.
async fn engine() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                    if read.ends_with(b"\r\n\r\n") {
                        kept.lock().push(String::from_utf8_lossy(&read).to_ascii_lowercase());
                        let _ = stream.write_all(OK).await;
                        read.clear();
                    }
                }
            });
        }
    });
    (address, heads)
}

fn gateway(address: SocketAddr, spec: &str) -> Gateway {
    let policy = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {{name: policy}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: Gateway, name: gw}}]\n  {spec}\n"
    );
    let named = route(TO_BACKEND).replace("  rules:", "  hostnames: [a.test]\n  rules:");
    Gateway::serve(&[backend("main", address, ""), named, policy].concat())
}

async fn response(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\nok") {
        assert!(timeout(LONG, client.read_buf(&mut read)).await.expect("a response comes").unwrap() > 0);
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_connection_carries_no_more_requests_than_allowed() {
    let (address, _) = engine().await;
    let gateway = gateway(address, "connection: {connectionLimit: {maxRequestsPerConnection: 2}}");
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    assert!(!response(&mut client).await.contains("connection: close"));
    assert!(response(&mut client).await.contains("connection: close\r\n"));
    assert_eq!(timeout(LONG, client.read(&mut [0])).await.expect("it closes").unwrap(), 0);

    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut sender: h2::client::SendRequest<Bytes> = sender;
    for _ in 0..2 {
        sender = sender.ready().await.unwrap();
        let (answer, _) = sender.send_request(Request::get("http://a.test/").body(()).unwrap(), true).unwrap();
        assert_eq!(timeout(LONG, answer).await.expect("a response comes").unwrap().status(), 200);
    }
    let _ = timeout(LONG, connection).await.expect("the connection ends").unwrap();
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn a_client_that_goes_on_after_goaway_is_refused_and_then_cut_off() {
    const GET: &[u8] = b"\x82\x86\x84\x41\x06a.test";
    const REFUSED_STREAM: [u8; 4] = 7_u32.to_be_bytes();
    let (address, _) = engine().await;
    let gateway = gateway(address, "connection: {connectionLimit: {maxRequestsPerConnection: 1}}");
    let (mut read, mut write) = TcpStream::connect(gateway.address).await.unwrap().into_split();
    let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[]), &frame(1, 5, 1, GET)].concat();
    write.write_all(&begin).await.unwrap();
    let (mut next, mut seen) = (3, Vec::new());
    // It answers no ping, and opens another stream whenever the one before has ended.
    let ended = timeout(LONG, async {
        let mut head = [0; 9];
        while read.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            if read.read_exact(&mut payload).await.is_err() {
                break;
            }
            let (kind, is_end) = (head[3], head[4] & 1 == 1);
            seen.push((kind, payload));
            if kind == 0 && is_end {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = write.write_all(&frame(1, 5, next, GET)).await;
                next += 2;
            }
        }
    });
    ended.await.expect("the connection ends");
    assert!(seen.iter().any(|(kind, _)| *kind == 7), "GOAWAY");
    assert!(next > 3, "the client goes on");
    assert!(seen.iter().any(|(kind, payload)| *kind == 3 && *payload == REFUSED_STREAM), "a stream is refused");
}

#[tokio::test]
async fn a_connection_grows_no_older_than_allowed() {
    let (address, _) = engine().await;
    let gateway = gateway(address, "connection: {connectionLimit: {maxConnectionDuration: 300ms}}");
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    response(&mut client).await;
    assert_eq!(timeout(LONG, client.read(&mut [0])).await.expect("it closes").unwrap(), 0);
}

#[tokio::test]
async fn a_stream_lasts_no_longer_than_allowed() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = gateway(silent.local_addr().unwrap(), "connection: {connectionLimit: {maxStreamDuration: 100ms}}");
    let late = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(late.starts_with("HTTP/1.1 504 ") && late.contains("x-pailou-response-flag: UT\r\n"), "{late}");
}

#[tokio::test]
async fn a_switched_connection_lasts_no_longer_than_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = gateway(listener.local_addr().unwrap(), "connection: {connectionLimit: {maxStreamDuration: 1s}}");
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    client.write_all(request).await.unwrap();
    let (mut taken, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        taken.read_buf(&mut head).await.unwrap();
    }
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n!";
    taken.write_all(switched).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(LONG, client.read_to_end(&mut answer)).await.expect("it ends");
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n!"), "{answer}");
}

#[tokio::test]
async fn a_dot_at_the_end_of_a_host_is_taken_off_where_the_listener_wants_that() {
    let (address, heads) = engine().await;
    let head = "GET / HTTP/1.1\r\nhost: A.test.:8080";
    assert!(gateway(address, "headers: {}").ask(head).await.starts_with("HTTP/1.1 404 "));
    let gateway = gateway(address, "headers: {host: {stripTrailingHostDot: true}}");
    assert!(gateway.ask(head).await.ends_with("\r\n\r\nok"));
    let head = heads.lock().pop().unwrap();
    assert!(head.contains("host: a.test:8080\r\n"), "{head}");
    assert!(gateway.ask("GET / HTTP/1.1\r\nhost: a.test..").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn the_list_of_proxies_stays_as_it_came_where_nothing_is_to_be_appended() {
    let (address, heads) = engine().await;
    let detection = "clientIPDetection: {xForwardedFor: {numTrustedHops: 1, disableXForwardedForAppend: true}}";
    let gateway = gateway(address, detection);
    assert!(gateway.ask("GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 192.0.2.1").await.ends_with("\r\n\r\nok"));
    let head = heads.lock().pop().unwrap();
    assert!(head.contains("x-forwarded-for: 192.0.2.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_request_that_goes_in_circles_is_stopped_where_nothing_is_appended() {
    let (address, heads) = engine().await;
    let gateway = gateway(address, "clientIPDetection: {xForwardedFor: {numTrustedHops: 1, disableXForwardedForAppend: true}}");
    let mut passed = String::new();
    for _ in 0..100 {
        // The backend leads back here: each head is the one that it got.
        let answer = gateway.ask(&format!("GET / HTTP/1.1\r\nhost: a.test{passed}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let head = heads.lock().pop().unwrap();
        let forwarded = head.lines().filter(|line| line.starts_with("x-"));
        passed = forwarded.map(|line| format!("\r\n{line}")).collect();
    }
    let answer = gateway.ask(&format!("GET / HTTP/1.1\r\nhost: a.test{passed}")).await;
    assert!(answer.starts_with("HTTP/1.1 508 "), "{answer}");
}

#[tokio::test]
async fn a_clients_word_of_path_and_timeout_never_passes_for_the_gateways() {
    for is_on in [true, false] {
        let (address, heads) = engine().await;
        let gateway = gateway(address, &format!("headers: {{enableEnvoyHeaders: {is_on}}}"));
        let forged = "x-envoy-original-path: /forged\r\nx-envoy-expected-rq-timeout-ms: 1";
        gateway.ask(&format!("GET / HTTP/1.1\r\nhost: a.test\r\n{forged}")).await;
        let head = heads.lock().pop().unwrap();
        assert!(!head.contains("x-envoy-original-path") && !head.contains("x-envoy-expected-rq-timeout-ms"), "{head}");
    }
}

#[tokio::test]
async fn keepalive_settings_beyond_the_systems_cost_no_connection() {
    let (address, _) = engine().await;
    for keepalive in ["idleTime: 24h", "interval: 500ms", "idleTime: 0s, interval: 0s, probes: 0", "probes: 200"] {
        let gateway = gateway(address, &format!("tcpKeepalive: {{{keepalive}}}"));
        assert!(gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await.ends_with("\r\n\r\nok"), "{keepalive}");
    }
}

#[tokio::test]
async fn envoys_own_headers_are_there_where_the_listener_has_them() {
    let rule = "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}], timeouts: {request: 5s}, \
                backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
    let policy = |kind: &str, target: &str, spec: &str| {
        format!(
            "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: policy}}\nspec:\n  targetRefs: [{{group: \
             gateway.networking.k8s.io, {target}}}]\n  {spec}\n"
        )
    };
    let limit = "rateLimit: {global: {rules: [{limit: {requests: 1, unit: Hour}}]}}";
    for is_on in [true, false] {
        let (address, heads) = engine().await;
        let listener =
            policy("ClientTrafficPolicy", "kind: Gateway, name: gw", &format!("headers: {{enableEnvoyHeaders: {is_on}}}"));
        let limit = policy("BackendTrafficPolicy", "kind: HTTPRoute, name: route", limit);
        let gateway = Gateway::serve(&[backend("main", address, ""), route(rule), listener, limit].concat());
        let answer = gateway.ask("GET /old?q HTTP/1.1\r\nhost: a.test\r\nx-envoy-original-path: /forged").await;
        assert_eq!(answer.contains("x-envoy-upstream-service-time: "), is_on, "{answer}");
        let head = heads.lock().pop().unwrap();
        assert_eq!(head.contains("x-envoy-original-path: /old?q\r\n"), is_on, "{head}");
        assert_eq!(head.contains("x-envoy-expected-rq-timeout-ms: 5000\r\n"), is_on, "{head}");
        let refused = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
        assert_eq!(refused.contains("x-envoy-ratelimited: true\r\n"), is_on, "{refused}");
    }
}
