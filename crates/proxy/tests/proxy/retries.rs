//! Retries of requests whose body streams in: it is kept as it passes, and sent again from its beginning.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::objects::{Gateway, backend, route};

const TO_MAIN: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
const LONG: Duration = Duration::from_secs(20);

/// A Gateway whose only rule retries like this.
fn gateway(address: SocketAddr, retry_on: &str, more: &str) -> Gateway {
    let policy = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: retry}}\nspec:\n  \
         targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n  \
         retry: {{numRetries: 2, retryOn: {retry_on}, perRetry: {{backOff: {{baseInterval: 1ms, maxInterval: 1ms}}}}}}\n"
    );
    let limit = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: limit}\nspec:\n  \
                 targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]\n  connection: {bufferLimit: 64Ki}\n";
    Gateway::serve(&[&route(TO_MAIN), &backend("main", address, more), &policy, limit].concat())
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads until what was read ends like this.
async fn until(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let byte = timeout(LONG, stream.read_u8()).await;
        bytes.push(byte.unwrap_or_else(|_| panic!("more comes than {:?}", String::from_utf8_lossy(&bytes))).unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

/// Takes a connection and reads a request's head from it.
async fn accept(listener: &TcpListener) -> (TcpStream, String) {
    let mut stream = timeout(LONG, listener.accept()).await.expect("a connection comes").unwrap().0;
    let head = until(&mut stream, b"\r\n\r\n").await;
    (stream, head)
}

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const DONE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
const ON_503: &str = "{httpStatusCodes: [503]}";

#[tokio::test]
async fn a_chunked_body_is_sent_again_with_its_trailers() {
    let (listener, address) = listener().await;
    let gateway = gateway(address, ON_503, "");
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(format!("{head}3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n").as_bytes()).await.unwrap();
    for answer in [BUSY, DONE] {
        let (mut engine, _) = accept(&listener).await;
        assert_eq!(until(&mut engine, b"\r\n\r\n").await, "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n");
        engine.write_all(answer).await.unwrap();
    }
    assert!(until(&mut client, b"done").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_body_that_is_still_coming_is_sent_again_from_its_beginning() {
    let (listener, address) = listener().await;
    for framing in ["transfer-encoding: chunked", "content-length: 6"] {
        let chunked = framing.starts_with("transfer");
        let gateway = gateway(address, ON_503, "");
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        let (first, rest) = if chunked { ("3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n") } else { ("abc", "def") };
        client.write_all(format!("POST / HTTP/1.1\r\nhost: a.test\r\n{framing}\r\n\r\n{first}").as_bytes()).await.unwrap();
        let (mut engine, _) = accept(&listener).await;
        assert_eq!(until(&mut engine, first.as_bytes()).await, first);
        engine.write_all(BUSY).await.unwrap();
        let (mut engine, _) = accept(&listener).await;
        assert_eq!(until(&mut engine, first.as_bytes()).await, first);
        client.write_all(rest.as_bytes()).await.unwrap();
        assert_eq!(until(&mut engine, rest.as_bytes()).await, rest);
        engine.write_all(DONE).await.unwrap();
        assert!(until(&mut client, b"done").await.starts_with("HTTP/1.1 200 OK\r\n"), "{framing}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_off_within_the_body_is_replaced() {
    let (listener, address) = listener().await;
    let gateway = gateway(address, "{triggers: [reset]}", "");
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
    let (mut engine, _) = accept(&listener).await;
    until(&mut engine, b"3\r\nabc\r\n").await;
    drop(engine);
    let (mut engine, _) = accept(&listener).await;
    until(&mut engine, b"3\r\nabc\r\n").await;
    client.write_all(b"0\r\n\r\n").await.unwrap();
    until(&mut engine, b"0\r\n\r\n").await;
    engine.write_all(DONE).await.unwrap();
    assert!(until(&mut client, b"done").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_body_longer_than_the_buffer_is_sent_once_and_counted() {
    let (listener, address) = listener().await;
    let long = "a".repeat(65 << 10);
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let known = format!("content-length: {}\r\n\r\n{long}", long.len());
    for rest in [chunked, known] {
        let gateway = gateway(address, ON_503, "");
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        client.write_all(format!("POST / HTTP/1.1\r\nhost: a.test\r\n{rest}").as_bytes()).await.unwrap();
        let (mut engine, _) = accept(&listener).await;
        until(&mut engine, &rest.as_bytes()[rest.len() - 64..]).await;
        engine.write_all(BUSY).await.unwrap();
        assert!(until(&mut client, b"\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
        let mut metrics = String::new();
        gateway.proxy.encode_metrics(&mut metrics);
        assert!(metrics.contains("\npailou_retry_abandoned_total 1\n"), "{metrics}");
    }
}

/// Serves HTTP/2 requests on one connection: reads each body, then answers.
async fn serve_http2(listener: TcpListener, answer: fn(usize) -> Response<()>) -> Vec<Bytes> {
    let stream = listener.accept().await.unwrap().0;
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut seen = Vec::new();
    while let Some(Ok((mut request, mut respond))) = connection.accept().await {
        let reading = async {
            let mut body = Vec::new();
            while let Some(Ok(data)) = request.body_mut().data().await {
                body.extend_from_slice(&data);
            }
            body
        };
        // Frames move only while the connection is polled.
        let body = tokio::select! {
            body = reading => body,
            _ = std::future::poll_fn(|context| connection.poll_closed(context)) => return seen,
        };
        seen.push(Bytes::from(body));
        respond.send_response(answer(seen.len()), true).unwrap();
    }
    seen
}

#[tokio::test]
async fn a_call_over_http2_is_retried_by_its_grpc_status() {
    let (listener, address) = listener().await;
    let gateway = gateway(address, "{triggers: [unavailable]}", ", appProtocols: [gateway.envoyproxy.io/h2c]");
    let backend = tokio::spawn(serve_http2(listener, |seen| {
        let status = if seen == 1 { "14" } else { "0" };
        Response::builder().header("content-type", "application/grpc").header("grpc-status", status).body(()).unwrap()
    }));
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request =
        Request::post("http://a.test/pkg.Service/Call").header("content-type", "application/grpc").header("te", "trailers");
    let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"\0\0\0\0\x01a"), false).unwrap();
    body.send_trailers(HeaderMap::new()).unwrap();
    let response = timeout(LONG, response).await.expect("an answer comes").unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "0");
    drop((client, gateway));
    let seen = timeout(LONG, backend).await.expect("the connection ends").unwrap();
    assert_eq!(seen, [&b"\0\0\0\0\x01a"[..]; 2]);
}
