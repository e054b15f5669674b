//! Session persistence, and consistent hashes within a pool.

use std::collections::HashSet;

use pailou_sim::{Config, Sim};

use crate::support::objects::{Gateway, route};

async fn engines() -> [Sim; 3] {
    let engine = |name: &'static str| async move { Sim::start(Config::new(name, ["qwen"]).instant()).await.unwrap() };
    [engine("a").await, engine("b").await, engine("c").await]
}

fn backend(name: &str, engines: &[&Sim]) -> String {
    let endpoint = |engine: &&Sim| format!("{{ip: {{address: {}, port: {}}}}}", engine.addr().ip(), engine.addr().port());
    let endpoints: Vec<_> = engines.iter().map(endpoint).collect();
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: {name}}}\nspec: {{endpoints: [{}]}}\n",
        endpoints.join(", ")
    )
}

/// The pool `qwen` of these engines, a port of one pod each.
fn pool(engines: &[&Sim]) -> String {
    let ports: Vec<_> = engines.iter().map(|engine| format!("{{number: {}}}", engine.addr().port())).collect();
    format!(
        "---\napiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {{name: qwen}}\nspec: {{selector: {{matchLabels: {{app: \
         qwen}}}}, targetPorts: [{}]}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: q0, labels: {{app: qwen}}}}\nspec: \
         {{containers: [{{name: e, image: x}}]}}\nstatus: {{podIP: {}, conditions: [{{type: Ready, status: \"True\"}}]}}\n",
        ports.join(", "),
        engines[0].addr().ip()
    )
}

const TO_POOL: &str = "{group: inference.networking.k8s.io, kind: InferencePool, name: qwen}";
const TO_BACKEND: &str = "{group: gateway.envoyproxy.io, kind: Backend, name: one}";

async fn chat(gateway: &Gateway, header: &str) -> String {
    let body = r#"{"model":"qwen","max_tokens":2,"messages":[{"role":"user","content":"hi"}]}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let answer = gateway.raw(&format!("{head}{header}content-length: {}\r\n\r\n{body}", body.len())).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer
        .lines()
        .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_end()))
}

fn server(answer: &str) -> String {
    header(answer, "x-sim-server").unwrap().to_owned()
}

/// The engines that answer requests with this header.
async fn servers(gateway: &Gateway, session: &str, name: &str) -> HashSet<String> {
    let mut servers = HashSet::new();
    for _ in 0..12 {
        let answer = chat(gateway, session).await;
        assert_eq!(header(&answer, name), None, "the client has a session already");
        servers.insert(server(&answer));
    }
    servers
}

#[tokio::test]
async fn a_cookie_keeps_a_client_at_its_endpoint_of_backends_and_pools() {
    let [a, b, c] = engines().await;
    let objects = [backend("one", &[&a, &b]), backend("two", &[&c]), pool(&[&a, &b, &c])].concat();
    let to_two = TO_BACKEND.replace("one", "two");
    for refs in [TO_BACKEND.to_owned(), TO_POOL.to_owned(), [TO_BACKEND, &to_two].join(", ")] {
        let rule = format!("{{backendRefs: [{refs}], sessionPersistence: {{cookie: {{name: home, path: /v1}}}}}}");
        let gateway = Gateway::serve(&[objects.clone(), route(&rule)].concat());
        let mut spread = HashSet::new();
        for _ in 0..4 {
            let first = chat(&gateway, "").await;
            let cookie = header(&first, "set-cookie").unwrap();
            assert!(cookie.starts_with("home=") && cookie.ends_with("; Path=/v1; HttpOnly"), "{cookie}");
            assert!(!cookie.contains(&a.addr().port().to_string()), "no address is told: {cookie}");
            let session = format!("cookie: other=1; {}\r\n", cookie.split(';').next().unwrap());
            assert_eq!(servers(&gateway, &session, "set-cookie").await, HashSet::from([server(&first)]), "{refs}");
            spread.insert(server(&first));
        }
        let forged = chat(&gateway, "cookie: home=00000000000000010\r\n").await;
        assert!(header(&forged, "set-cookie").is_some(), "a session of no endpoint is replaced");
        assert!(!spread.is_empty());
    }
}

#[tokio::test]
async fn a_header_keeps_a_client_at_its_endpoint_in_the_older_form_too() {
    let [a, b, c] = engines().await;
    for session in ["{type: Header, header: {name: Session-A}}", "{sessionName: Session-A, type: Header, absoluteTimeout: 1h}"] {
        let rule = format!("{{backendRefs: [{TO_BACKEND}], sessionPersistence: {session}}}");
        let gateway = Gateway::serve(&[backend("one", &[&a, &b, &c]), route(&rule)].concat());
        let first = chat(&gateway, "").await;
        let token = header(&first, "session-a").unwrap();
        let session = format!("session-a: {token}\r\n");
        assert_eq!(servers(&gateway, &session, "session-a").await, HashSet::from([server(&first)]));
    }
}

#[tokio::test]
async fn a_session_moves_on_when_its_endpoint_is_gone() {
    let [a, b, _] = engines().await;
    let rule = format!("{{backendRefs: [{TO_BACKEND}], sessionPersistence: {{type: Header, header: {{name: x-home}}}}}}");
    let gateway = Gateway::serve(&[backend("one", &[&a]), route(&rule)].concat());
    let token = header(&chat(&gateway, "").await, "x-home").unwrap().to_owned();
    let objects = ["apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  listeners: \
                    [{name: http, protocol: HTTP, port: 8080}]\n", &backend("one", &[&b]), &route(&rule)]
    .concat();
    gateway.update(&objects);
    let answer = chat(&gateway, &format!("x-home: {token}\r\n")).await;
    assert_eq!(server(&answer), "b");
    assert_ne!(header(&answer, "x-home").unwrap(), token);
}

#[tokio::test]
async fn a_consistent_hash_holds_within_a_pool() {
    let [a, b, c] = engines().await;
    let policy = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: hash}\nspec:\n  targetRefs: [{group: \
                  gateway.networking.k8s.io, kind: HTTPRoute, name: route}]\n  loadBalancer: {type: ConsistentHash, consistentHash: {type: Header, \
                  header: {name: x-user}}}\n";
    let gateway = Gateway::serve(&[&pool(&[&a, &b, &c]), &route(&format!("{{backendRefs: [{TO_POOL}]}}")), policy].concat());
    let mut homes = HashSet::new();
    for user in 0..24 {
        let mut servers = HashSet::new();
        for _ in 0..5 {
            servers.insert(server(&chat(&gateway, &format!("x-user: {user}\r\n")).await));
        }
        assert_eq!(servers.len(), 1, "user {user}");
        homes.extend(servers);
    }
    assert_eq!(homes.len(), 3, "users are spread");
}
