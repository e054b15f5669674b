//! TLS handshakes that fail: each has its reason in the log and in a metric.

use rcgen::ExtendedKeyUsagePurpose;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    objects::Gateway,
    pki::Authority,
    secured::{ask_once, connect},
};

/// An HTTPS port with a hostname and one that asks for certificates.
fn objects(servers: &Authority, clients: &Authority) -> String {
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  tls: \
                   {frontend: {default: {}, perPort: [{port: 9443, tls: {validation: {caCertificateRefs: [{group: \"\", kind: ConfigMap, \
                   name: clients}]}}}]}}\n  listeners:\n  - {name: named, protocol: HTTPS, port: 8443, hostname: a.test, tls: \
                   {certificateRefs: [{name: server}]}}\n  - {name: asks, protocol: HTTPS, port: 9443, tls: {certificateRefs: [{name: \
                   server}]}}\n";
    [gateway, &servers.issue(&["a.test", "b.test"]).secret("server"), &clients.config_map("clients")].concat()
}

async fn failed(gateway: &Gateway, reason: &str, detail: &str) -> String {
    let line = gateway.log.line(detail).await;
    assert!(line.contains("\"protocol\":\"TLS\"") && line.contains("\"flag\":\"TLS\""), "{line}");
    assert!(gateway.metric(&format!("pailou_tls_handshake_failures_total{{reason=\"{reason}\"}}")) >= 1.0, "{reason}");
    line
}

#[tokio::test]
async fn a_name_that_no_listener_has_is_in_the_log() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let gateway = Gateway::at_own_address(&objects(&servers, &clients));
    let client = servers.client(None, "http/1.1");
    assert!(connect(gateway.at(8443), "b.test", &client).await.is_err());
    let line = failed(&gateway, "unknown_server_name", "no listener has this server name").await;
    assert!(line.contains("\"sni\":\"b.test\""), "{line}");
    assert!(connect(gateway.at(8443), "127.0.0.1", &client).await.is_err());
    failed(&gateway, "no_server_name", "the client names no server").await;
    assert_eq!(gateway.metric("pailou_response_flags_total{flag=\"TLS\"}"), 2.0);
    drop(TcpStream::connect(gateway.at(8443)).await.unwrap());
    assert!(ask_once(gateway.at(8443), "a.test", &client).await.is_ok());
    assert_eq!(gateway.metric("pailou_response_flags_total{flag=\"TLS\"}"), 2.0, "a probe that says nothing is none");
}

#[tokio::test]
async fn bytes_that_are_no_tls_are_in_the_log() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let gateway = Gateway::at_own_address(&objects(&servers, &clients));
    for (bytes, reason, detail) in [
        ("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n", "not_tls", "HTTP without TLS"),
        ("\0\0\0\0\0\0\0\0", "not_tls", "these bytes are no TLS"),
        ("\u{16}\u{3}\u{1}", "closed", "the client closed the connection during the handshake"),
    ] {
        let mut stream = TcpStream::connect(gateway.at(8443)).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        drop(stream);
        failed(&gateway, reason, detail).await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_in_the_log_on_either_side() {
    let (servers, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let gateway = Gateway::at_own_address(&objects(&servers, &clients));
    let of_servers = clients.issue_for(&["c.test"], &[ExtendedKeyUsagePurpose::ServerAuth]);
    let (foreign, right) = (others.issue(&[]), clients.issue_for(&[], &[ExtendedKeyUsagePurpose::ClientAuth]));
    for (certificate, detail) in [
        (Some(&of_servers), "its extended key usage lacks clientAuth"),
        (Some(&foreign), "not from a trusted authority"),
        (None, "the client showed no certificate"),
    ] {
        assert!(ask_once(gateway.at(9443), "a.test", &servers.client(certificate, "http/1.1")).await.is_err());
        failed(&gateway, "client_certificate", detail).await;
    }
    assert!(ask_once(gateway.at(9443), "a.test", &servers.client(Some(&right), "http/1.1")).await.is_ok());
    assert!(connect(gateway.at(8443), "a.test", &others.client(None, "http/1.1")).await.is_err());
    failed(&gateway, "refused", "the client refused to go on").await;
}
