//! Settings of connections to backends: HTTP version, windows, upgrades.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::objects::{Gateway, backend, route};

const LONG: Duration = Duration::from_secs(20);
const TO_BACKEND: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn gateway(address: SocketAddr, backend_fields: &str, spec: &str) -> Gateway {
    let policy = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: policy}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n  {spec}\n"
    );
    Gateway::serve(&[backend("main", address, backend_fields), route(TO_BACKEND), policy].concat())
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(LONG, listener.accept()).await.expect("a connection comes").unwrap().0
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(LONG, stream.read_exact(&mut bytes)).await.expect("bytes come").unwrap();
    bytes
}

#[tokio::test]
async fn requests_go_in_the_version_of_their_client() {
    for fields in ["", ", appProtocols: [gateway.envoyproxy.io/h2c]"] {
        let (listener, address) = listener().await;
        let gateway = gateway(address, fields, "useClientProtocol: true");
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        client.write_all(b"GET /one HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
        let mut engine = accept(&listener).await;
        assert_eq!(read(&mut engine, 18).await, b"GET /one HTTP/1.1\r");

        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut sender: h2::client::SendRequest<Bytes> = sender.ready().await.unwrap();
        let _response = sender.send_request(Request::get("http://a.test/two").body(()).unwrap(), true).unwrap();
        let mut engine = accept(&listener).await;
        assert_eq!(read(&mut engine, PREFACE.len()).await, PREFACE);
    }
}

#[tokio::test]
async fn windows_of_http2_are_as_the_policy_says() {
    let (listener, address) = listener().await;
    let spec = "http2: {initialStreamWindowSize: 128Ki, initialConnectionWindowSize: 1Mi, maxConcurrentStreams: 1}";
    let gateway = gateway(address, ", appProtocols: [gateway.envoyproxy.io/h2c]", spec);
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
    let mut engine = accept(&listener).await;
    assert_eq!(read(&mut engine, PREFACE.len()).await, PREFACE);
    let head = read(&mut engine, 9).await;
    assert_eq!(head[3], 4, "a SETTINGS frame");
    let settings = read(&mut engine, usize::from(head[2])).await;
    assert!(settings.chunks(6).any(|it| it == [&[0, 4][..], &(128u32 << 10).to_be_bytes()].concat()), "{settings:?}");

    // A second request has no room on the connection, and gets one of its own.
    let mut other = TcpStream::connect(gateway.address).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
    let mut second = accept(&listener).await;
    assert_eq!(read(&mut second, PREFACE.len()).await, PREFACE);
}

async fn upgraded(spec: &str, protocol: &str) -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") && stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {}
            let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: any\r\n\r\nbytes";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let gateway = gateway(address, "", spec);
    gateway.raw(&format!("GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade, close\r\nupgrade: {protocol}\r\n\r\n")).await
}

#[tokio::test]
async fn connections_are_upgraded_to_protocols_that_are_listed() {
    for (spec, protocol, is_allowed) in [
        ("httpUpgrade: [{type: WebSocket}, {type: spdy/3.1}]", "websocket", true),
        ("httpUpgrade: [{type: WebSocket}, {type: spdy/3.1}]", "SPDY/3.1", true),
        ("httpUpgrade: [{type: WebSocket}]", "other", false),
        ("requestBuffer: {limit: 1Mi}", "websocket", false),
        ("retry: {}", "other", true),
    ] {
        let answer = upgraded(spec, protocol).await;
        match is_allowed {
            true => assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("bytes"), "{spec} {protocol}: {answer}"),
            false => assert!(answer.starts_with("HTTP/1.1 403 "), "{spec} {protocol}: {answer}"),
        }
    }
}

#[tokio::test]
async fn connections_to_an_external_processor_are_made_as_its_settings_say() {
    let (guard, address) = listener().await;
    let policy = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {name: policy}\nspec:\n  \
                  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}]\n  extProc: [{backendRefs: [{group: \
                  gateway.envoyproxy.io, kind: Backend, name: guard}], processingMode: {request: {}}, backendSettings: {proxyProtocol: \
                  {version: V1}}}]\n";
    let objects = [&*backend("main", address, ""), &backend("guard", address, ""), &route(TO_BACKEND), policy].concat();
    let gateway = Gateway::serve(&objects);
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut accept(&guard).await, 6).await, b"PROXY ");
}
