//! PROXY protocol: from load balancers, and to backends.

use std::net::SocketAddr;

use pailou_proxy::proxy_protocol::{Beginning, Ends, header, parse};
use pailou_snapshot::ProxyProtocolVersion;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use crate::support::{
    by_hand::read_until,
    ear::Ear,
    objects::{Gateway, backend, route},
    pki::Authority,
};

const TO_BACKEND: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}";
const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";

fn policy(kind: &str, target: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: p}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: {target}}}]\n  {spec}\n"
    )
}

fn from_clients(spec: &str) -> String {
    policy("ClientTrafficPolicy", "Gateway, name: gw", spec)
}

fn ends() -> Ends {
    Ends { source: "192.0.2.7:4711".parse().unwrap(), destination: "198.51.100.1:443".parse().unwrap() }
}

async fn send(gateway: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_until(&mut stream, |_| false).await
}

#[tokio::test]
async fn a_load_balancer_says_who_the_client_is() {
    let ear = Ear::start().await;
    let objects = [route(TO_BACKEND), backend("b", ear.address, "")].concat();
    for spec in ["enableProxyProtocol: true", "proxyProtocol: {}", "proxyProtocol: {optional: true}"] {
        let gateway = Gateway::serve(&[objects.clone(), from_clients(spec)].concat());
        for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
            let bytes = [header(version, Some(ends())), REQUEST.into()].concat();
            assert!(send(gateway.address, &bytes).await.starts_with("HTTP/1.1 200"), "{spec} {version:?}");
            let head = ear.next().await;
            assert!(head.contains("\r\nx-forwarded-for: 192.0.2.7"), "{head}");
            gateway.log.line("\"client\":\"192.0.2.7:4711\"").await;
            // The balancer's own connection.
            let bytes = [header(version, None), REQUEST.into()].concat();
            assert!(send(gateway.address, &bytes).await.starts_with("HTTP/1.1 200"), "{spec} {version:?}");
            assert!(ear.next().await.contains("\r\nx-forwarded-for: 127."));
        }
        // In pieces.
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in header(ProxyProtocolVersion::V2, Some(ends())).chunks(5) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, |_| false).await.starts_with("HTTP/1.1 200"));
        ear.next().await;
    }
}

#[tokio::test]
async fn a_connection_without_a_header_is_served_only_where_it_is_optional() {
    let ear = Ear::start().await;
    let objects = [route(TO_BACKEND), backend("b", ear.address, "")].concat();
    let gateway = Gateway::serve(&[objects.clone(), from_clients("proxyProtocol: {optional: true}")].concat());
    assert!(send(gateway.address, REQUEST.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let gateway = Gateway::serve(&[objects, from_clients("proxyProtocol: {}")].concat());
    for (bytes, detail) in
        [(REQUEST, "no PROXY protocol header"), ("PROXY TCP4 1\r\n", "malformed PROXY protocol header, version 1")]
    {
        assert_eq!(send(gateway.address, bytes.as_bytes()).await, "");
        let line = gateway.log.line(detail).await;
        assert!(line.contains("\"protocol\":\"PROXY\",\"flag\":\"DPE\""), "{line}");
    }
    assert_eq!(gateway.metric("pailou_client_protocol_errors_total{protocol=\"PROXY\",code=\"PROXY\"}"), 2.0);
}

#[tokio::test]
async fn a_header_comes_before_tls() {
    let ear = Ear::start().await;
    let authority = Authority::new();
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  listeners: \
                   [{name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: server}]}}]\n---\n";
    let server = authority.issue(&["a.test"]).secret("server");
    let objects =
        [gateway, &route(TO_BACKEND), &backend("b", ear.address, ""), &server, &from_clients("proxyProtocol: {}")].concat();
    let gateway = Gateway::at_own_address(&objects);
    let mut stream = TcpStream::connect(gateway.at(8443)).await.unwrap();
    stream.write_all(&header(ProxyProtocolVersion::V1, Some(ends()))).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(authority.client(None, "http/1.1"));
    let mut stream = connector.connect("a.test".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    assert!(ear.next().await.contains("\r\nx-forwarded-for: 192.0.2.7"));
    let mut stream = TcpStream::connect(gateway.at(8443)).await.unwrap();
    stream.write_all(&[&*header(ProxyProtocolVersion::V2, Some(ends())), b"GET / HTTP/1.1\r\n\r\n"].concat()).await.unwrap();
    let line = gateway.log.line("HTTP without TLS").await;
    assert!(line.contains("192.0.2.7:4711"), "{line}");
}

/// A backend behind the PROXY protocol, which tells of each connection what it begins with, and answers until it ends.
async fn behind() -> (SocketAddr, UnboundedReceiver<Option<Ends>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut read = Vec::new();
                let mut is_told = false;
                while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                    if let (false, Ok(Beginning::Header(length, ends))) = (is_told, parse(&read)) {
                        tell.send(ends).unwrap();
                        is_told = true;
                        read.drain(..length);
                    }
                    if is_told && read.ends_with(b"\r\n\r\n") {
                        read.clear();
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    }
                }
            });
        }
    });
    (address, told)
}

#[tokio::test]
async fn a_backend_is_told_of_each_client_on_a_connection_of_its_own() {
    for version in ["V1", "V2"] {
        let (address, mut told) = behind().await;
        let sends = policy("BackendTrafficPolicy", "HTTPRoute, name: route", &format!("proxyProtocol: {{version: {version}}}"));
        let gateway = Gateway::serve(&[route(TO_BACKEND), backend("b", address, ""), sends].concat());
        for _ in 0..2 {
            let mut client = TcpStream::connect(gateway.address).await.unwrap();
            for _ in 0..3 {
                client.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
                assert!(read_until(&mut client, |text| text.ends_with("\r\n\r\n")).await.starts_with("HTTP/1.1 200"), "{version}");
            }
            let expected = Ends { source: client.local_addr().unwrap(), destination: gateway.address };
            assert_eq!(told.recv().await.unwrap(), Some(expected), "{version}");
        }
        assert!(told.try_recv().is_err(), "{version}: a client's requests share a connection");
    }
}
