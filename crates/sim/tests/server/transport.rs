use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pailou_sim::selfsigned::Authority;
use pailou_sim::{Config, Sim, StartError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::client::{Client, TEST_TIMEOUT, instant, request, start, text};

#[tokio::test]
async fn requests_share_a_connection() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    for _ in 0..20 {
        let response = client.send(request(Method::GET, "/v1/models", "")).await.unwrap();
        assert_eq!(response.headers()["x-sim-server"], "one");
        text(response).await;
    }
    let stats = sim.stats();
    assert_eq!((stats.requests, stats.connections, stats.open_connections), (20, 1, 1));
}

#[tokio::test]
async fn echo_tells_what_arrived() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let mut sent = request(Method::PUT, "/any/where?a=1&b=%20", "some body");
    sent.headers_mut().insert("x-sim-echo", "1".parse().unwrap());
    sent.headers_mut().append("x-twice", "one".parse().unwrap());
    sent.headers_mut().append("x-twice", "two".parse().unwrap());
    let echo: Value = serde_json::from_str(&text(client.send(sent).await.unwrap()).await).unwrap();
    assert_eq!(echo["method"], "PUT");
    assert_eq!(echo["path"], "/any/where?a=1&b=%20");
    assert_eq!(echo["http_version"], "HTTP/1.1");
    assert_eq!((&echo["body"], &echo["body_length"]), (&json!("some body"), &json!(9)));
    assert_eq!((&echo["tls"], &echo["server"]), (&json!(false), &json!("one")));
    let headers = echo["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-twice", "one"])) && headers.contains(&json!(["x-twice", "two"])));
    let last = sim.stats().last_request.unwrap();
    assert_eq!((last.method, last.path.as_str()), (Method::PUT, "/any/where?a=1&b=%20"));
}

async fn echo_over_h2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Value {
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    let request =
        Request::builder().uri("http://sim.test/echo").body(Full::<Bytes>::default()).expect("the request is well-formed");
    let response = send.send_request(request).await.expect("the server answers");
    assert_eq!(response.version(), Version::HTTP_2);
    serde_json::from_slice(&response.into_body().collect().await.expect("the body ends well").to_bytes()).expect("an echo is JSON")
}

#[tokio::test]
async fn http2_is_spoken_in_the_clear_by_prior_knowledge() {
    let sim = instant().await;
    let echo = echo_over_h2(TcpStream::connect(sim.addr()).await.unwrap()).await;
    assert_eq!((&echo["http_version"], &echo["authority"]), (&json!("HTTP/2.0"), &json!("sim.test")));
}

#[tokio::test]
async fn tls_is_served_with_a_certificate_of_the_authority() {
    let authority = Authority::new().unwrap();
    let tls = authority.issue(&["llm.example.com", "127.0.0.1"]).unwrap();
    let sim = start(Config { tls: Some(tls), ..Config::new("one", ["qwen"]).instant() }).await;
    assert!(sim.url().starts_with("https://127.0.0.1:"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let connect = async |name: &'static str| {
        let tcp = TcpStream::connect(sim.addr()).await.unwrap();
        connector.connect(ServerName::try_from(name).unwrap(), tcp).await
    };
    let echo = echo_over_h2(connect("llm.example.com").await.unwrap()).await;
    assert_eq!((&echo["sni"], &echo["alpn"]), (&json!("llm.example.com"), &json!("h2")));
    assert!(connect("127.0.0.1").await.is_ok());
    assert!(connect("other.example.com").await.is_err());
}

#[tokio::test]
async fn a_key_is_required_where_one_is_configured() {
    let sim = start(Config { api_key: Some("sk-right".into()), ..Config::new("one", ["qwen"]).instant() }).await;
    let mut client = Client::connect(sim.addr()).await;
    for (given, status) in [(None, 401), (Some("Bearer sk-wrong"), 401), (Some("Bearer sk-right"), 200)] {
        let mut sent = request(Method::GET, "/v1/models", "");
        if let Some(given) = given {
            sent.headers_mut().insert("authorization", given.parse().unwrap());
        }
        let response = client.send(sent).await.unwrap();
        assert_eq!(response.status(), status);
        let body = text(response).await;
        assert_eq!(body.contains(r#""code":"invalid_api_key""#), status == 401);
        assert!(!body.contains("sk-"));
    }
    assert_eq!(client.get("/metrics").await.0, 200);
    assert!(!format!("{:?}", sim.stats()).contains("sk-right"));
}

#[tokio::test]
async fn the_api_lives_under_its_prefix_and_nowhere_else() {
    let config = Config { path_prefix: "/compatible-mode".into(), ..Config::new("one", ["qwen"]).instant() };
    let sim = start(config).await;
    assert!(sim.url().ends_with("/compatible-mode"));
    let mut client = Client::connect(sim.addr()).await;
    assert_eq!(client.get("/compatible-mode/v1/models").await.0, 200);
    assert_eq!(client.get("/compatible-modes/v1/models").await.0, 404);
    assert_eq!(client.get("/v1/models").await.0, 404);
    assert_eq!(client.get("/health").await.0, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let sim = start(Config { max_body_bytes: 1000, ..Config::new("one", ["qwen"]).instant() }).await;
    let mut client = Client::connect(sim.addr()).await;
    let response = client.send(request(Method::POST, "/echo", "x".repeat(1001))).await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn stopping_lets_requests_end_and_killing_does_not() {
    let body = json!({"model": "qwen", "prompt": "x", "max_tokens": 15, "ignore_eos": true});
    for graceful in [true, false] {
        let sim = start(Config::new("one", ["qwen"])).await;
        let (addr, mut client) = (sim.addr(), Client::connect(sim.addr()).await);
        let body = body.clone();
        let answer = tokio::spawn(async move { client.post("/v1/completions", &body).await.map(|r| r.status()) });
        crate::client::eventually("the request runs", || sim.stats().running == 1).await;
        let end = async { if graceful { sim.stop().await } else { sim.kill().await } };
        tokio::time::timeout(TEST_TIMEOUT, end).await.unwrap();
        assert_eq!(answer.await.unwrap().is_ok(), graceful);
        assert!(Client::try_connect(addr).await.is_err());
    }
}

#[tokio::test]
async fn stopping_closes_idle_connections_at_once() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    client.get("/health").await;
    let silent = TcpStream::connect(sim.addr()).await.unwrap();
    crate::client::eventually("both are open", || sim.stats().open_connections == 2).await;
    tokio::time::timeout(Duration::from_secs(5), sim.stop()).await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = instant().await;
    let error = Sim::start(Config { listen: first.addr(), ..Config::default() }).await.err().unwrap();
    assert!(matches!(error, StartError::Bind { addr, .. } if addr == first.addr()));
    assert!(error.to_string().contains(&first.addr().to_string()));
}
