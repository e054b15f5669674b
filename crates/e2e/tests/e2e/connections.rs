//! Whole connections and datagrams, from files to backends: TLSRoute, TCPRoute, UDPRoute.

use std::{net::SocketAddr, time::Duration};

use pailou_e2e::gateway::Setup;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

/// A Gateway with a TCP and a UDP listener of one port number, and a route of each kind to a Backend.
fn objects(tcp: SocketAddr, udp: SocketAddr) -> String {
    let backend = |name: &str, address: SocketAddr| {
        format!(
            "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: {name}}}\nspec: {{endpoints: [{{ip: \
             {{address: {}, port: {}}}}}]}}\n",
            address.ip(),
            address.port()
        )
    };
    let route = |kind: &str, name: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: gw}}]\n  \
             rules: [{{backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: {name}}}]}}]\n"
        )
    };
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  \
                   listeners: [{name: tcp, protocol: TCP, port: 5300}, {name: udp, protocol: UDP, port: 5300}]\n";
    [gateway.to_owned(), backend("tcp", tcp), backend("udp", udp), route("TCPRoute", "tcp"), route("UDPRoute", "udp")].concat()
}

#[tokio::test]
async fn tcp_and_udp_of_one_port_number_reach_their_backends() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    let text = objects(tcp.local_addr().expect("it is bound"), udp.local_addr().expect("it is bound"));
    let gateway = Setup::new().file("objects.yaml", &text).serve().await;
    tokio::spawn(async move {
        let (mut stream, _) = tcp.accept().await.expect("a connection comes");
        let mut asked = String::new();
        stream.read_to_string(&mut asked).await.expect("it is read");
        stream.write_all(format!("tcp {asked}").as_bytes()).await.expect("it is answered");
    });
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        let (length, client) = udp.recv_from(&mut buffer).await.expect("a datagram comes");
        let answer = [b"udp ", &buffer[..length]].concat();
        udp.send_to(&answer, client).await.expect("it is answered");
    });

    let mut stream = TcpStream::connect(gateway.port(5300)).await.expect("it listens");
    stream.write_all(b"hello").await.expect("it takes bytes");
    stream.shutdown().await.expect("one side can end");
    let mut answer = String::new();
    timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await.expect("in time").expect("it ends well");
    assert_eq!(answer, "tcp hello");

    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    client.connect(gateway.port(5300)).await.expect("it has an address");
    client.send(b"hello").await.expect("it is sent");
    let mut buffer = [0; 64];
    let length = timeout(Duration::from_secs(60), client.recv(&mut buffer)).await.expect("in time").expect("it comes");
    assert_eq!(&buffer[..length], b"udp hello", "from the address that was asked");

    let line = gateway.logged("the connection's line", |line| line["protocol"] == "TCP").await;
    assert_eq!((&line["route"], &line["listener"]), (&"default/tcp/0".into(), &"default/gw/tcp".into()));
    let said = gateway.stderr();
    assert!(said.contains(":5300 (TCP: Gateway default/gw, listener tcp)"), "{said}");
    assert!(said.contains(":5300/udp (UDP: Gateway default/gw, listener udp)"), "{said}");
}
