use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use pailou_snapshot::{ServerTls, TlsVersion};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::{
    gateway::{Gateway, Listening, NOWHERE, port, tls},
    tcp::nobody,
};

/// A certificate for some names, and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn identity(names: &[&str]) -> Identity {
    let made = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    Identity { certificate: made.cert.der().clone(), key }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS of a listener.
fn ends_tls(identity: &Identity) -> Arc<ServerTls> {
    let key = rustls::crypto::ring::sign::any_supported_type(&identity.key).unwrap();
    Arc::new(ServerTls {
        certificates: vec![Arc::new(CertifiedKey::new(vec![identity.certificate.clone()], key))],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        alpn: Vec::new(),
        ciphers: Vec::new(),
        client_certificates: None,
    })
}

/// A server that says its name and echoes what comes, within TLS where it has an identity.
async fn backend(name: &'static str, identity: Option<&Identity>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = identity.map(|identity| {
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config =
            config.with_no_client_auth().with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key()).unwrap();
        TlsAcceptor::from(Arc::new(config))
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => echo(name, acceptor.accept(stream).await.unwrap()).await,
                    None => echo(name, stream).await,
                }
            });
        }
    });
    address
}

async fn echo(name: &str, mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    stream.write_all(name.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    stream.write_all(&read).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// Greets the gateway as a client that trusts this certificate alone.
async fn connect(address: SocketAddr, name: &str, trusted: &Identity) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = Vec::new();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(Duration::from_secs(60), TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("an end")
}

/// Says something and reads to the end, which TLS has to bear witness to.
async fn converse(mut stream: TlsStream<TcpStream>) -> String {
    stream.write_all(b" and more").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut read = String::new();
    timeout(Duration::from_secs(60), stream.read_to_string(&mut read)).await.expect("an end").unwrap();
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_name_decides_and_the_backend_answers_the_handshake() {
    let (a, b) = (identity(&["a.example"]), identity(&["x.b.example"]));
    let gateway = Gateway::start();
    let listening = [Listening {
        hostname: None,
        tls: None,
        routes: &[(Some("a.example"), 0), (Some("*.b.example"), 1), (Some("c.b.example"), 0)],
    }];
    gateway.apply(vec![port(tls(&listening))], &[&[backend("a", Some(&a)).await], &[backend("b", Some(&b)).await]]);
    let address = gateway.address(false);
    assert_eq!(converse(connect(address, "A.Example", &a).await.unwrap()).await, "a and more");
    assert_eq!(converse(connect(address, "x.b.example", &b).await.unwrap()).await, "b and more");
    let line = gateway.logged("\"sni\":\"x.b.example\"").await;
    assert!(line.contains("\"protocol\":\"TLS\"") && line.contains("backend-1"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passed_through_and_ended_names_share_a_port() {
    let (through, ended) = (identity(&["through.example"]), identity(&["ended.example"]));
    let gateway = Gateway::start();
    let listening = [
        Listening { hostname: Some("through.example"), tls: None, routes: &[(Some("through.example"), 0)] },
        Listening { hostname: Some("ended.example"), tls: Some(ends_tls(&ended)), routes: &[(Some("ended.example"), 1)] },
    ];
    gateway.apply(vec![port(tls(&listening))], &[&[backend("tls", Some(&through)).await], &[backend("clear", None).await]]);
    let address = gateway.address(false);
    assert_eq!(converse(connect(address, "through.example", &through).await.unwrap()).await, "tls and more");
    assert_eq!(converse(connect(address, "ended.example", &ended).await.unwrap()).await, "clear and more");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_served_is_met_with_silence_and_no_alert() {
    let own = identity(&["a.example"]);
    let gateway = Gateway::start();
    for (ends, expected) in [(false, "UF"), (true, "UF")] {
        let settings = ends.then(|| ends_tls(&own));
        let routes = [(Some("a.example"), 0), (Some("gone.example"), NOWHERE), (Some("empty.example"), 1)];
        let listening = [Listening { hostname: None, tls: settings, routes: &routes }];
        gateway.apply(vec![port(tls(&listening))], &[&[nobody()], &[]]);
        let names = ["unknown.example", "gone.example", "empty.example"];
        for name in names {
            let error = connect(gateway.address(false), name, &own).await.expect_err(name);
            let silent = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
            assert!(silent, "{name}, ends: {ends}: {error:?}");
        }
        // That nobody listens is known only after the handshake, where there is one.
        let tried = connect(gateway.address(false), "a.example", &own).await;
        assert_eq!(tried.is_ok(), ends);
        drop(tried);
        gateway.logged(&format!("\"flag\":\"{expected}\"")).await;
    }
    for flag in ["NR", "NC", "UH"] {
        gateway.logged(&format!("\"flag\":\"{flag}\"")).await;
    }
}
