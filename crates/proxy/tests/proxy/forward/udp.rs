use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::UdpSocket, time::timeout};

use super::gateway::{Gateway, NOWHERE, port, tcp, udp};

/// A server that answers with its name, the client's port as it sees it, and what it was sent.
async fn echo(name: &'static str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; 65536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [format!("{name} {} ", from.port()).as_bytes(), &buffer[..length]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    });
    (address, task)
}

/// A client that takes answers from the gateway's address alone.
async fn client(gateway: &Gateway) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(gateway.address(true)).await.unwrap();
    socket
}

async fn ask(client: &UdpSocket, question: &str) -> Option<String> {
    client.send(question.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 65536];
    match timeout(Duration::from_secs(3), client.recv(&mut buffer)).await {
        Ok(Ok(length)) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_with_its_endpoint_through_a_reload_and_loses_nothing() {
    let gateway = Gateway::start();
    let ((first, _), (second, _)) = (echo("one").await, echo("two").await);
    gateway.apply(vec![port(udp(0)), port(tcp(0))], &[&[first, second]]);
    let (a, b) = (client(&gateway).await, client(&gateway).await);
    let from = ask(&a, "").await.unwrap();
    let other = ask(&b, "").await.unwrap();
    assert_ne!(from[..3], other[..3], "clients are spread");
    for turn in 0..100 {
        if turn % 10 == 0 {
            gateway.apply(vec![port(udp(0)), port(tcp(0))], &[&[first, second]]);
        }
        let answer = ask(&a, &turn.to_string()).await;
        assert_eq!(answer, Some(format!("{from}{turn}")));
    }
    let large = "x".repeat(9000);
    assert_eq!(ask(&a, &large).await, Some(format!("{from}{large}")));
    assert!(gateway.metrics().contains("pailou_sessions_active 2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_on_when_its_endpoint_is_gone_or_its_route_leads_elsewhere() {
    let gateway = Gateway::start();
    let ((first, task), (second, _)) = (echo("one").await, echo("two").await);
    gateway.apply(vec![port(udp(0))], &[&[first], &[second]]);
    let client = client(&gateway).await;
    assert!(ask(&client, "").await.unwrap().starts_with("one"));
    gateway.apply(vec![port(udp(1))], &[&[first], &[second]]);
    assert!(ask(&client, "").await.unwrap().starts_with("two"));
    gateway.apply(vec![port(udp(0))], &[&[first], &[second]]);
    assert!(ask(&client, "").await.unwrap().starts_with("one"));
    gateway.apply(vec![port(udp(0))], &[&[second], &[second]]);
    assert!(ask(&client, "").await.unwrap().starts_with("two"));
    // An endpoint that is dead and still listed: the system says so of the first datagram, and the next goes elsewhere.
    gateway.apply(vec![port(udp(0))], &[&[first], &[second]]);
    task.abort();
    let _ = task.await;
    assert_eq!(ask(&client, "").await, None);
    gateway.apply(vec![port(udp(0))], &[&[second], &[second]]);
    assert!(ask(&client, "").await.unwrap().starts_with("two"));
    gateway.logged("\"flag\":\"UF\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_to_nobody_is_dropped_and_counted() {
    let gateway = Gateway::start();
    for cluster in [0, NOWHERE] {
        gateway.apply(vec![port(udp(cluster))], &[&[]]);
        assert_eq!(ask(&client(&gateway).await, "anybody?").await, None);
    }
    let metrics = gateway.metrics();
    assert!(metrics.contains("pailou_dropped_datagrams_total{reason=\"no_endpoint\"} 2"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_arrives_whole() {
    let gateway = Gateway::start();
    let (address, _) = echo("one").await;
    gateway.apply(vec![port(udp(0))], &[&[address]]);
    let client = Arc::new(client(&gateway).await);
    assert!(ask(&client, "").await.is_some());
    for _ in 0..200 {
        client.send(b"burst").await.unwrap();
    }
    let mut buffer = [0; 64];
    for count in 0..200 {
        let answer = timeout(Duration::from_secs(60), client.recv(&mut buffer)).await;
        assert!(answer.is_ok(), "{count} of 200 answers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_free_again_when_its_listener_goes() {
    let gateway = Gateway::start();
    let (address, _) = echo("one").await;
    gateway.apply(vec![port(udp(0))], &[&[address]]);
    let local = gateway.address(true);
    assert!(ask(&client(&gateway).await, "").await.is_some());
    gateway.apply(vec![], &[&[address]]);
    let free = async {
        while UdpSocket::bind(local).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), free).await.expect("the socket is closed at once");
}
