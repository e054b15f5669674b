//! Bodies that stream in, and responses that begin meanwhile, over HTTP/1.1 to the backend.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::objects::{Gateway, backend, route};

const TO_MAIN: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
/// More than all buffers on the way hold.
const LENGTH: usize = 32 << 20;
const LONG: Duration = Duration::from_secs(20);

async fn gateway() -> (Gateway, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let main = backend("main", listener.local_addr().unwrap(), "");
    (Gateway::serve(&[route(TO_MAIN), main].concat()), listener)
}

/// Reads until what was read ends like this.
async fn until(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.push(timeout(LONG, stream.read_u8()).await.expect("it comes").unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_a_response_can_go_on_sending() {
    let (gateway, listener) = gateway().await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes()).await.unwrap();
    let (mut from_gateway, mut to_gateway) = listener.accept().await.unwrap().0.into_split();
    until(&mut from_gateway, b"\r\n\r\n").await;
    let answering = tokio::spawn(async move {
        to_gateway.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes()).await.unwrap();
        to_gateway.write_all(&vec![b'a'; LENGTH]).await.unwrap();
        to_gateway
    });
    let taking = tokio::spawn(async move { from_gateway.read_exact(&mut vec![0; LENGTH]).await.unwrap() });
    timeout(LONG, client.write_all(&vec![b'b'; LENGTH])).await.expect("the client is not kept from sending").unwrap();
    assert_eq!(timeout(LONG, taking).await.expect("all of it reaches the backend").unwrap(), LENGTH);
    assert!(until(&mut client, b"\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    let mut body = vec![0; LENGTH];
    timeout(LONG, client.read_exact(&mut body)).await.expect("the response comes whole").unwrap();
    assert!(body.iter().all(|&byte| byte == b'a'));
    answering.await.unwrap();
}

#[tokio::test]
async fn chunks_are_passed_on_with_the_trailers_that_were_announced() {
    let (gateway, listener) = gateway().await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(format!("{head}3\r\nabc\r\n0\r\nx-sum: 7\r\nx-other: 1\r\n\r\n").as_bytes()).await.unwrap();
    let mut engine = listener.accept().await.unwrap().0;
    assert!(until(&mut engine, b"\r\n\r\n").await.contains("\r\ntransfer-encoding: chunked\r\n"));
    assert_eq!(until(&mut engine, b"\r\n\r\n").await, "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n");
    engine.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n").await.unwrap();
    until(&mut client, b"\r\n\r\n").await;
    assert_eq!(until(&mut client, b"0\r\n\r\n").await, "2\r\nok\r\n0\r\n\r\n");
}
