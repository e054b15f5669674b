//! Key sets that the gateway fetches (SecurityPolicy `remoteJWKS`): new keys, servers that fail, and how often they are asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::*};
use parking_lot::Mutex;
use ring::hmac;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, nowhere},
    pki::Authority,
    secured::before,
};

/// A server of key sets.
struct KeyServer {
    address: SocketAddr,
    /// Heads of the requests that came.
    heads: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Answer {
    Body(String),
    Status(&'static str),
    Silence,
}

impl KeyServer {
    async fn start(answer: Answer) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    fn at(listener: TcpListener, answer: Answer) -> Self {
        let address = listener.local_addr().unwrap();
        let server =
            Self { address, heads: Arc::default(), answer: Arc::new(Mutex::new(answer)), asked: Arc::new(AtomicUsize::new(0)) };
        let (heads, answer, asked) = (server.heads.clone(), server.answer.clone(), server.asked.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (heads, answer, asked) = (heads.clone(), answer.clone(), asked.clone());
                tokio::spawn(async move {
                    let mut read = Vec::new();
                    while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                        if !read.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        heads.lock().push(String::from_utf8_lossy(&std::mem::take(&mut read)).to_ascii_lowercase());
                        asked.fetch_add(1, Ordering::Relaxed);
                        let answer = answer.lock().clone();
                        let text = match answer {
                            Answer::Body(body) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
                            Answer::Status(status) => format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"),
                            Answer::Silence => continue,
                        };
                        let _ = stream.write_all(text.as_bytes()).await;
                    }
                });
            }
        });
        server
    }

    fn gives(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    fn count(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until it was asked this often since.
    async fn asked_again(&self, times: usize) {
        let before = self.count();
        while self.count() < before + times {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A set of the keys with these names.
fn keys(names: &[&str]) -> Answer {
    let keys: Vec<_> =
        names.iter().map(|name| json!({"kty": "oct", "kid": name, "k": BASE64_URL_SAFE_NO_PAD.encode(secret(name))})).collect();
    Answer::Body(json!({"keys": keys}).to_string())
}

fn secret(name: &str) -> [u8; 32] {
    [name.as_bytes()[0]; 32]
}

/// A token that the key of this name signed.
fn token(name: &str) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256", "kid": name})), part(&json!({"sub": "alice"})));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret(name)), message.as_bytes());
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

/// A route of this name, and a SecurityPolicy on it that takes tokens by a remote key set with these fields.
fn guarded(name: &str, remote: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: gw}}]\n  \
         rules: [{{matches: [{{path: {{value: /{name}}}}}], backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: ear}}]}}]\n---\n\
         apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: {name}}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]\n  jwt: {{providers: [{{name: idp, remoteJWKS: {{{remote}}}}}]}}\n"
    )
}

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  \
                       listeners: [{name: http, protocol: HTTP, port: 8080}]\n";

async fn serve(objects: &str) -> Gateway {
    let ear = Ear::start().await;
    Gateway::at_own_address(&[GATEWAY, &backend("ear", ear.address, ""), objects].concat())
}

/// The status of a request with a token.
async fn ask(gateway: &Gateway, path: &str, name: &str) -> String {
    let answer = gateway.ask(&format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nauthorization: Bearer {}", token(name))).await;
    answer.split(' ').nth(1).unwrap().to_owned()
}

/// Asks until the status is this one.
async fn ask_until(gateway: &Gateway, name: &str, status: &str) {
    while ask(gateway, "/a", name).await != status {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_and_unknown_ones_cause_no_storm() {
    let server = KeyServer::start(keys(&["one"])).await;
    let gateway = serve(&guarded("a", &format!("uri: 'http://{}/keys'", server.address))).await;
    assert_eq!(ask(&gateway, "/a", "one").await, "200");
    assert_eq!(server.count(), 1);
    server.gives(keys(&["two"]));
    assert_eq!(ask(&gateway, "/a", "one").await, "200", "known keys count until they are fetched again");
    assert_eq!(ask(&gateway, "/a", "two").await, "200");
    assert_eq!(server.count(), 2);
    for _ in 0..5 {
        assert_eq!(ask(&gateway, "/a", "xyz").await, "401");
    }
    assert_eq!(ask(&gateway, "/a", "one").await, "401", "the key is gone");
    assert_eq!(server.count(), 2);
    assert!(server.heads.lock()[0].starts_with("get /keys http/1.1\r\n"));
}

#[tokio::test]
async fn without_keys_the_answer_is_503_and_they_are_fetched_as_soon_as_they_can_be() {
    let port = nowhere();
    let remote = format!("uri: 'http://{port}/keys', failedRefetchDuration: 100ms");
    let gateway = serve(&guarded("a", &remote)).await;
    let answer = gateway.ask(&format!("GET /a HTTP/1.1\r\nhost: a.test\r\nauthorization: Bearer {}", token("one"))).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Jwks remote fetch is failed"), "{answer}");
    assert!(!answer.contains("www-authenticate"), "{answer}");
    let answer = gateway.ask("GET /a HTTP/1.1\r\nhost: a.test").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "a request without a token is the client's fault: {answer}");
    let server = KeyServer::at(TcpListener::bind(port).await.unwrap(), keys(&["one"]));
    ask_until(&gateway, "one", "200").await;
    assert!(server.count() >= 1);
}

#[tokio::test]
async fn known_keys_go_on_whatever_the_server_answers() {
    let oversized = Answer::Body(" ".repeat(2 << 20));
    for bad in [
        Answer::Status("500 No"),
        Answer::Status("302 Found"),
        Answer::Body("<html>".into()),
        Answer::Body("{\"keys\":[]}".into()),
        oversized,
    ] {
        let server = KeyServer::start(bad.clone()).await;
        let remote = format!("uri: 'http://{}/keys', cacheDuration: 100ms, failedRefetchDuration: 100ms", server.address);
        let gateway = serve(&guarded("a", &remote)).await;
        assert_eq!(ask(&gateway, "/a", "one").await, "503");
        server.gives(keys(&["one"]));
        ask_until(&gateway, "one", "200").await;
        for answer in [bad, Answer::Silence] {
            server.gives(answer.clone());
            server.asked_again(if matches!(answer, Answer::Silence) { 1 } else { 2 }).await;
            assert_eq!(ask(&gateway, "/a", "one").await, "200");
        }
    }
}

#[tokio::test]
async fn policies_with_one_url_fetch_it_once_and_so_does_a_reload() {
    let server = KeyServer::start(keys(&["one"])).await;
    let remote = format!("uri: 'http://{}/keys'", server.address);
    let ear = Ear::start().await;
    let objects = |names: &[&str]| {
        let routes: String = names.iter().map(|name| guarded(name, &remote)).collect();
        [GATEWAY, &backend("ear", ear.address, ""), &routes].concat()
    };
    let gateway = Gateway::at_own_address(&objects(&["a", "b"]));
    for path in ["/a", "/b"] {
        assert_eq!(ask(&gateway, path, "one").await, "200");
    }
    gateway.update(&objects(&["a", "b", "c"]));
    assert_eq!(ask(&gateway, "/c", "one").await, "200");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn the_servers_of_the_policy_are_asked_in_the_name_of_the_url() {
    let server = KeyServer::start(keys(&["one"])).await;
    let refs = "backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: idp}]";
    let objects = |scheme: &str| {
        [backend("idp", server.address, ""), guarded("a", &format!("uri: '{scheme}://idp.test/keys?a=b', {refs}"))].concat()
    };
    let gateway = serve(&objects("http")).await;
    assert_eq!(ask(&gateway, "/a", "one").await, "200");
    let head = server.heads.lock()[0].clone();
    assert!(head.starts_with("get /keys?a=b http/1.1\r\n") && head.contains("host: idp.test\r\n"), "{head}");
    // A URL of https is not asked in the clear.
    let gateway = serve(&objects("https")).await;
    assert_eq!(ask(&gateway, "/a", "one").await, "500");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn keys_come_over_tls_that_is_verified() {
    let server = KeyServer::start(keys(&["one"])).await;
    let (authority, other) = (Authority::new(), Authority::new());
    let (address, _shown) = before(server.address, &authority.issue(&["idp.test"]), &authority).await;
    let tls = ", tls: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}], sni: idp.test}";
    let refs = "backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: idp}]";
    for (trusted, status) in [(&authority, "200"), (&other, "503")] {
        let objects = [
            trusted.config_map("ca"),
            backend("idp", address, tls),
            guarded("a", &format!("uri: 'https://idp.test/keys', {refs}")),
        ];
        let gateway = serve(&objects.concat()).await;
        assert_eq!(ask(&gateway, "/a", "one").await, status);
    }
    // The system's authorities know nothing of it.
    let gateway = serve(&guarded("a", &format!("uri: 'https://127.0.0.1:{}/keys'", address.port()))).await;
    assert_eq!(ask(&gateway, "/a", "one").await, "503");
}
