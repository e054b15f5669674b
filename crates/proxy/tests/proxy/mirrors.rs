//! Memory that copies for mirrors may take.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::objects::{Gateway, backend, route};

const RULE: &str = "{filters: [{type: RequestMirror, requestMirror: {backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: \
                    spare}}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
const BUFFER: &str = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: buffer}\nspec:\n  \
                      targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}]\n  requestBuffer: {limit: 8Mi}\n";
const LONG: Duration = Duration::from_secs(20);
/// More than the sockets of a connection hold.
const BODY: usize = 7 << 20;
const REQUESTS: usize = 16;
/// Half of the room that the tests' proxies have for bodies.
const ROOM: u64 = 32 << 20;

/// A server that reads each request and answers it.
async fn reader() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let mut stream = listener.accept().await.unwrap().0;
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    read.push(stream.read_u8().await.unwrap());
                }
                stream.read_exact(&mut vec![0; BODY]).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone").await.unwrap();
            });
        }
    });
    address
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let mut metrics = String::new();
    gateway.proxy.encode_metrics(&mut metrics);
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().parse::<f64>().unwrap() as u64
}

#[tokio::test]
async fn copies_that_a_mirror_does_not_take_are_bounded_and_counted() {
    for buffer in ["", BUFFER] {
        // Its connections are accepted by the kernel, and nobody reads from them.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let main = backend("main", reader().await, "");
        let spare = backend("spare", silent.local_addr().unwrap(), "");
        let gateway = Gateway::serve(&[&route(RULE), &main, &spare, buffer].concat());
        for _ in 0..REQUESTS {
            let mut client = TcpStream::connect(gateway.address).await.unwrap();
            let head = format!("POST / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: {BODY}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(&vec![b'a'; BODY]).await.unwrap();
            let mut answer = String::new();
            timeout(LONG, client.read_to_string(&mut answer)).await.expect("an answer comes").unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(metric(&gateway, "pailou_request_body_bytes{process=\"pailou\"} ") <= ROOM + BODY as u64);
        }
        assert!(metric(&gateway, "pailou_mirrors_dropped_total ") > 0);
        assert!(metric(&gateway, "pailou_request_body_bytes{process=\"pailou\"} ") > 0, "what a mirror holds counts");
        drop(silent);
        // Its connections break off now, and with them the copies end.
        let freed = async {
            while metric(&gateway, "pailou_request_body_bytes{process=\"pailou\"} ") > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, freed).await.expect("the room comes free");
    }
}
