//! The gateway's own list of models.

use std::net::SocketAddr;

use pailou_sim::{Config, Sim};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::objects::{Gateway, backend, nowhere};

const TO_MAIN: &str = "backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]";
const TO_POOL: &str = "backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: pool}]";
const ANTHROPIC: &str = "\r\nanthropic-version: 2023-06-01";

/// An HTTPRoute with one rule.
fn route(name: &str, rule: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: gw}}]\n  \
         rules: [{{{rule}}}]\n"
    )
}

/// A match on a path prefix and a model.
fn by_model(path: &str, model: &str) -> String {
    format!("matches: [{{path: {{value: {path}}}, headers: [{{name: X-Gateway-Model-Name, value: {model}}}]}}]")
}

fn gateway(more: &str) -> Gateway {
    let to = |name: &str, path: &str, model: &str| route(name, &format!("{}, {TO_MAIN}", by_model(path, model)));
    let routes = [to("a", "/", "qwen"), to("b", "/", "org/deepseek-r1"), to("c", "/v1/chat", "qwen")].concat();
    Gateway::serve(&[&routes, &backend("main", nowhere(), ""), more].concat())
}

async fn get(gateway: &Gateway, path: &str, more: &str) -> (String, Value) {
    let answer = gateway.ask(&format!("GET {path} HTTP/1.1\r\nhost: a.test{more}")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect()
}

/// The models that are listed at `/v1/models`, with these headers more.
async fn listed(gateway: &Gateway, more: &str) -> Vec<String> {
    let (status, list) = get(gateway, "/v1/models", more).await;
    assert_eq!(status, "200", "{list}");
    ids(&list).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn models_that_routes_name_are_listed_once_in_the_clients_form() {
    let gateway = gateway("");
    let (status, list) = get(&gateway, "/v1/models", "").await;
    assert_eq!((status.as_str(), &list["object"]), ("200", &json!("list")));
    assert_eq!(ids(&list), ["org/deepseek-r1", "qwen"]);
    assert_eq!(list["data"][1], json!({"id": "qwen", "object": "model", "created": 0, "owned_by": "pailou"}));
    for (path, more) in [("/v1/models/?limit=1000", ANTHROPIC), ("/anthropic/v1/models", "")] {
        let (_, list) = get(&gateway, path, more).await;
        assert_eq!(
            (&list["first_id"], &list["last_id"], &list["has_more"]),
            (&json!("org/deepseek-r1"), &json!("qwen"), &json!(false))
        );
        let qwen = json!({"type": "model", "id": "qwen", "display_name": "qwen", "created_at": "1970-01-01T00:00:00Z"});
        assert_eq!(list["data"][1], qwen, "{path}");
    }
}

#[tokio::test]
async fn one_model_is_found_by_its_name() {
    let gateway = gateway("");
    for path in ["/v1/models/org/deepseek-r1", "/v1/models/org%2Fdeepseek-r1", "/v1/models/org%2fdeepseek%2Dr1/"] {
        let (status, model) = get(&gateway, path, "").await;
        assert_eq!((status.as_str(), &model["id"]), ("200", &json!("org/deepseek-r1")), "{path}");
    }
    for path in ["/v1/models/gpt", "/v1/models/org/gpt", "/v1/models/%ff"] {
        let (status, error) = get(&gateway, path, "").await;
        assert_eq!((status.as_str(), &error["error"]["code"]), ("404", &json!("model_not_found")), "{path}");
        let (status, error) = get(&gateway, path, ANTHROPIC).await;
        assert_eq!((status.as_str(), &error["error"]["type"]), ("404", &json!("not_found_error")), "{path}");
    }
}

#[tokio::test]
async fn both_versions_of_http_answer_head_without_a_body() {
    let gateway = gateway("");
    let whole = gateway.ask("GET /v1/models HTTP/1.1\r\nhost: a.test").await;
    let length = whole.split_once("\r\n\r\n").unwrap().1.len().to_string();
    let head = gateway.ask("HEAD /v1/models HTTP/1.1\r\nhost: a.test").await;
    assert!(head.contains(&format!("content-length: {length}\r\n")) && head.ends_with("\r\n\r\n"), "{head}");

    let (client, connection) = h2::client::handshake(TcpStream::connect(gateway.address).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    for (method, path, status, body) in [
        ("GET", "/v1/models", 200, true),
        ("HEAD", "/v1/models", 200, false),
        ("GET", "/v1/models/gpt", 404, true),
        ("HEAD", "/v1/models/gpt", 404, false),
        ("POST", "/v1/models", 404, true),
    ] {
        let request = http::Request::builder().method(method).uri(format!("http://a.test{path}")).body(()).unwrap();
        let (head, mut read) = client.send_request(request, true).unwrap().0.await.unwrap().into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = read.data().await {
            bytes.extend_from_slice(&data.unwrap());
        }
        assert_eq!((head.status.as_u16(), !bytes.is_empty()), (status, body), "{method} {path}");
        let announced: usize = head.headers["content-length"].to_str().unwrap().parse().unwrap();
        assert!(if body { announced == bytes.len() } else { announced > 0 }, "{method} {path}");
    }
}

#[tokio::test]
async fn a_rule_for_the_request_goes_first() {
    let direct = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: own}\nspec: {directResponse: \
                  {statusCode: 200, contentType: application/json, body: {type: Inline, inline: '{\"own\": true}'}}}\n";
    let own = "matches: [{path: {type: Exact, value: /v1/models}}], filters: [{type: ExtensionRef, extensionRef: {group: \
               gateway.envoyproxy.io, kind: HTTPRouteFilter, name: own}}]";
    let gateway = gateway(&[direct, &route("own", own)].concat());
    assert_eq!(get(&gateway, "/v1/models", "").await.1, json!({"own": true}));
    assert_eq!(get(&gateway, "/v1/models/qwen", "").await.1["id"], "qwen");
}

#[tokio::test]
async fn a_list_has_what_the_client_could_ask_for() {
    let of_team = "matches: [{path: {value: /v1}, headers: [{name: X-Gateway-Model-Name, value: gpt}, {name: x-team, value: a}]}]";
    let of_host = "matches: [{headers: [{name: X-Gateway-Model-Name, value: other}]}]";
    let more = [
        route("team", &format!("{of_team}, {TO_MAIN}")),
        route("elsewhere", &format!("{}, {TO_MAIN}", by_model("/other", "far"))),
        route("broken", &format!("{}, backendRefs: [{{name: missing, port: 80}}]", by_model("/", "broken"))),
        route("host", &format!("{of_host}, {TO_MAIN}")).replace("spec:", "spec:\n  hostnames: [b.test]"),
    ];
    let gateway = gateway(&more.concat());
    assert_eq!(listed(&gateway, "").await, ["org/deepseek-r1", "qwen"]);
    assert_eq!(listed(&gateway, "\r\nx-team: a").await, ["gpt", "org/deepseek-r1", "qwen"]);
    let (_, list) = get(&gateway, "/other/v1/models", "").await;
    assert_eq!(ids(&list), ["far", "org/deepseek-r1", "qwen"]);
    let answer = gateway.ask("GET /v1/models HTTP/1.1\r\nhost: B.test:8080").await;
    assert!(answer.contains(r#""id":"other""#) && answer.contains(r#""id":"qwen""#), "{answer}");
}

#[tokio::test]
async fn a_pool_adds_its_models_adapters_and_those_of_its_engines() {
    let engine = Sim::start(Config::new("a", ["served"]).instant()).await.unwrap();
    let pool = format!(
        "---\napiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {{name: pool}}\nspec: {{selector: {{matchLabels: \
         {{app: a}}}}, targetPorts: [{{number: {}}}]}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: a, labels: {{app: a}}}}\nspec: \
         {{containers: [{{name: e, image: x}}]}}\nstatus: {{podIP: {}, conditions: [{{type: Ready, status: \"True\"}}]}}\n",
        engine.addr().port(),
        engine.addr().ip()
    );
    let rewrite = |target: &str| {
        format!(
            "---\napiVersion: llm-d.ai/v1alpha2\nkind: InferenceModelRewrite\nmetadata: {{name: r}}\nspec: {{poolRef: {{name: pool}}, rules: \
             [{{matches: [{{model: {{value: gpt}}}}], targets: [{{modelRewrite: {target}}}]}}]}}\n"
        )
    };
    let adapters = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, labels: {inference.networking.k8s.io/bbr-managed: \"true\"}}\n\
                    data: {baseModel: served, adapters: \"[legal, support]\"}\n";
    // A path of its own: without, its rule would take the request itself.
    let to_pool = |matches: &str| route("p", &format!("{matches}, {TO_POOL}"));
    let prefix = "matches: [{path: {value: /v1/chat}}]";
    let by_base = "matches: [{headers: [{name: X-Gateway-Base-Model-Name, value: served}]}]";
    let by_pattern = "matches: [{headers: [{name: X-Gateway-Model-Name, type: RegularExpression, value: \"gpt|le.*\"}]}]";
    for (objects, expected) in [
        ([to_pool(prefix), rewrite("inner"), String::new()], vec!["gpt", "served"]),
        ([to_pool(prefix), rewrite("served"), String::new()], vec!["gpt"]),
        ([to_pool(prefix), rewrite("inner"), adapters.to_owned()], vec!["gpt", "legal", "served", "support"]),
        ([to_pool(prefix), rewrite("served"), adapters.to_owned()], vec!["gpt", "legal", "support"]),
        ([to_pool(by_base), rewrite("inner"), adapters.to_owned()], vec!["legal", "served", "support"]),
        ([to_pool(by_pattern), rewrite("inner"), adapters.to_owned()], vec!["gpt", "legal"]),
    ] {
        let gateway = Gateway::serve(&[pool.clone(), objects.concat()].concat());
        // The engine is known once its metrics were read.
        for _ in 0..500 {
            let (_, list) = get(&gateway, "/v1/models", "").await;
            if list["data"].is_array() && ids(&list) == expected {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(listed(&gateway, "").await, expected);
    }
}

#[tokio::test]
async fn hundreds_of_models_are_listed_in_order() {
    let rules: Vec<_> = (0..300)
        .map(|number| route(&format!("r{number}"), &format!("{}, {TO_MAIN}", by_model("/", &format!("m{number:03}")))))
        .collect();
    let gateway = gateway(&rules.concat());
    let names = listed(&gateway, "").await;
    assert_eq!((names.len(), names.is_sorted()), (302, true));
    let (_, page) = get(&gateway, "/v1/models?limit=20&after_id=m099", ANTHROPIC).await;
    assert_eq!((ids(&page).len(), ids(&page)[0], &page["has_more"]), (20, "m100", &json!(true)));
}

#[tokio::test]
async fn scripts_may_read_the_list_where_a_route_allows_it() {
    let cors = "filters: [{type: CORS, cors: {allowOrigins: [\"https://app.test\"], allowHeaders: [\"*\"]}}]";
    let gateway = gateway(&route("cors", &format!("{}, {cors}, {TO_MAIN}", by_model("/v1/chat/completions", "gpt"))));
    for (origin, allowed) in [("https://app.test", true), ("https://evil.test", false)] {
        let preflight =
            format!("OPTIONS /v1/models HTTP/1.1\r\nhost: a.test\r\norigin: {origin}\r\naccess-control-request-method: GET");
        let answer = gateway.ask(&preflight).await;
        assert_eq!(answer.starts_with("HTTP/1.1 204"), allowed, "{answer}");
        for path in ["/v1/models", "/v1/models/none"] {
            let answer = gateway.ask(&format!("GET {path} HTTP/1.1\r\nhost: a.test\r\norigin: {origin}")).await;
            assert_eq!(answer.contains("access-control-allow-origin: https://app.test\r\n"), allowed, "{answer}");
        }
    }
}

/// An authorization server that knows one credential.
async fn guard() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") && stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {}
                let knows = String::from_utf8_lossy(&read).contains("Bearer good");
                let status = if knows { "200 OK" } else { "401 Unauthorized" };
                let _ = stream
                    .write_all(format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").as_bytes())
                    .await;
            });
        }
    });
    address
}

#[tokio::test]
async fn guarded_models_are_listed_for_those_who_may_pass() {
    let auth = "{protocol: HTTP, http: {}, backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: guard}}";
    let filter = format!("filters: [{{type: ExternalAuth, externalAuth: {auth}}}]");
    let guarded = |name: &str, model: &str| route(name, &format!("{}, {filter}, {TO_MAIN}", by_model("/", model)));
    let guard = backend("guard", guard().await, "");
    let mixed = gateway(&[guarded("g", "secret"), guarded("h", "secret-2"), guard.clone()].concat());
    assert_eq!(listed(&mixed, "").await, ["org/deepseek-r1", "qwen"]);
    assert_eq!(listed(&mixed, "\r\nauthorization: Bearer good").await, ["org/deepseek-r1", "qwen", "secret", "secret-2"]);
    assert_eq!(get(&mixed, "/v1/models/secret", "").await.0, "404");

    let objects = [guarded("g", "secret"), guard.clone(), backend("main", nowhere(), "")].concat();
    let closed = Gateway::serve(&objects);
    assert_eq!(get(&closed, "/v1/models", "").await.0, "401");
    assert_eq!(listed(&closed, "\r\nauthorization: Bearer good").await, ["secret"]);

    // A listener's own guard stands before everything.
    let listener = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: gw}}\nspec:\n  gatewayClassName: pailou\n  listeners: \
         [{{name: http, protocol: HTTP, port: 8080, filters: {{requests: [{{type: ExternalAuth, externalAuth: {auth}}}]}}}}]\n"
    );
    let open = route("o", &format!("{}, {TO_MAIN}", by_model("/", "qwen")));
    let closed = Gateway::at_own_address(&[listener, open, guard, backend("main", nowhere(), "")].concat());
    assert_eq!(get(&closed, "/v1/models", "").await.0, "401");
    assert_eq!(listed(&closed, "\r\nauthorization: Bearer good").await, ["qwen"]);
}

#[tokio::test]
async fn requests_that_name_no_model_are_told_to_have_a_rule() {
    let gateway = gateway("");
    for (method, path) in
        [("POST", "/v1/files"), ("GET", "/v1/batches/b-1"), ("GET", "/v1/responses/r-1"), ("DELETE", "/v1/responses/r-1")]
    {
        let answer = gateway.ask(&format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0")).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("add a rule that matches this path"), "{answer}");
        assert!(answer.contains(r#"{"error":{"message":"#), "{answer}");
    }
    let batch = gateway.ask(&format!("POST /v1/messages/batches HTTP/1.1\r\nhost: a.test{ANTHROPIC}\r\ncontent-length: 0")).await;
    assert!(batch.contains(r#"{"type":"error","error":{"type":"not_found_error","#), "{batch}");
}

#[tokio::test]
async fn where_no_route_names_a_model_there_is_no_list() {
    let web = route("web", &format!("matches: [{{path: {{value: /web}}}}], {TO_MAIN}"));
    let gateway = Gateway::serve(&[web, backend("main", nowhere(), "")].concat());
    assert_eq!(get(&gateway, "/v1/models", "").await.0, "404");
}
