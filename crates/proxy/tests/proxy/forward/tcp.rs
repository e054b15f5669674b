use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::gateway::{Gateway, NOWHERE, port, tcp, udp};

/// A server that says its name, reads to the end, and says how much there was.
async fn counting(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(name.as_bytes()).await.unwrap();
                let mut read = Vec::new();
                stream.read_to_end(&mut read).await.unwrap();
                stream.write_all(format!(" {}", read.len()).as_bytes()).await.unwrap();
            });
        }
    });
    address
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    // No port that the system gives to whoever asks for one.
    SocketAddr::from(([127, 0, 0, 9], 9))
}

/// Bytes until the connection ends.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let read = timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    (bytes, read.err().map(|error| error.kind()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_speak_first_and_ends_are_handed_on_by_themselves() {
    let gateway = Gateway::start();
    gateway.apply(vec![port(tcp(0))], &[&[counting("hello").await]]);
    let mut client = TcpStream::connect(gateway.address(false)).await.unwrap();
    let mut greeting = [0; 5];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");
    client.write_all(&vec![7; 300_000]).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, (b" 300000".to_vec(), None));
    let line = gateway.logged("\"protocol\":\"TCP\"").await;
    for part in [
        "\"listener\":\"default/gateway/l4\"",
        "\"route\":\"default/route/0\"",
        "\"request_bytes\":300000,\"response_bytes\":12",
        "\"attempts\":1",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("\"flag\""), "{line}");
    let metrics = gateway.metrics();
    assert!(
        metrics.contains("pailou_session_bytes_total{route=\"default/route/0\",kind=\"TCPRoute\",direction=\"sent\"} 300000"),
        "{metrics}"
    );
    assert!(metrics.contains("pailou_sessions_active 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_is_passed_over() {
    let gateway = Gateway::start();
    gateway.apply(vec![port(tcp(0))], &[&[nobody(), counting("alive").await]]);
    for _ in 0..4 {
        let mut client = TcpStream::connect(gateway.address(false)).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await.0, b"alive 0");
    }
    gateway.logged("\"attempts\":2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_backend_the_connection_is_closed_and_the_log_says_why() {
    let gateway = Gateway::start();
    for (cluster, endpoints, flag) in [(0, vec![], "UH"), (0, vec![nobody()], "UF"), (NOWHERE, vec![], "NC")] {
        gateway.apply(vec![port(tcp(cluster))], &[&endpoints]);
        let mut client = TcpStream::connect(gateway.address(false)).await.unwrap();
        assert_eq!(rest(&mut client).await.0, b"", "{flag}");
        gateway.logged(&format!("\"flag\":\"{flag}\"")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_cuts_off_does_not_look_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start();
    gateway.apply(vec![port(tcp(0))], &[&[listener.local_addr().unwrap()]]);
    let mut client = TcpStream::connect(gateway.address(false)).await.unwrap();
    let (mut backend, _) = listener.accept().await.unwrap();
    backend.write_all(b"half").await.unwrap();
    let mut half = [0; 4];
    client.read_exact(&mut half).await.unwrap();
    SockRef::from(&backend).set_linger(Some(Duration::ZERO)).unwrap();
    drop(backend);
    assert_eq!(rest(&mut client).await, (Vec::new(), Some(ErrorKind::ConnectionReset)));
    gateway.logged("\"flag\":\"UC\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_changes_and_the_end_of_their_port() {
    let gateway = Gateway::start();
    let (first, second) = (counting("first").await, counting("second").await);
    gateway.apply(vec![port(tcp(0))], &[&[first], &[second]]);
    let address = gateway.address(false);
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 5];
    client.read_exact(&mut greeting).await.unwrap();
    gateway.apply(vec![port(tcp(1)), port(udp(0))], &[&[first], &[second]]);
    let mut next = TcpStream::connect(address).await.unwrap();
    next.shutdown().await.unwrap();
    assert_eq!(rest(&mut next).await.0, b"second 0");
    gateway.apply(vec![], &[&[first], &[second]]);
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), refused).await.unwrap();
    client.write_all(b"still here").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, (b" 10".to_vec(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_connections_and_then_cuts_them() {
    let gateway = Gateway::start();
    gateway.apply(vec![port(tcp(0))], &[&[counting("hello").await]]);
    let mut client = TcpStream::connect(gateway.address(false)).await.unwrap();
    let mut greeting = [0; 5];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(gateway.proxy.drain(Duration::from_millis(300)).await, 1);
    rest(&mut client).await;
}
