//! Authorization servers: asked before routing by a listener, and after it by a rule.

use pailou_e2e::client::{Call, Reply};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::objects;
use pailou_e2e::wire::{Received, Server, Wire, header};
use pailou_sim::Sim;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{everything_to, instant};

/// An authorization server that gives every request this answer, and shows the requests.
async fn server(answer: &'static str) -> (Server, mpsc::UnboundedReceiver<Received>) {
    let (send, asked) = mpsc::unbounded_channel();
    let server = Server::start(move |mut wire: Wire| {
        let send = send.clone();
        async move {
            loop {
                let received = wire.request().await?;
                let _ = send.send(received);
                wire.write(answer).await?;
            }
        }
    });
    (server.await, asked)
}

fn asking(name: &str, http: Value, more: Value) -> Value {
    let backend = json!({"group": "gateway.envoyproxy.io", "kind": "Backend", "name": name});
    let mut auth = json!({"protocol": "HTTP", "http": http, "backendRef": backend});
    auth.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    json!({"type": "ExternalAuth", "externalAuth": auth})
}

/// A gateway whose listener, and whose one rule, ask these.
async fn gateway(before: Value, filters: Value, more: Vec<Value>) -> (Gateway, Sim) {
    let sim = instant("a", "m").await;
    let listener = json!([{"name": "http", "protocol": "HTTP", "port": 8080, "filters": {"requests": before}}]);
    let rules = json!([{"filters": filters, "backendRefs": [objects::to_backend("a")]}]);
    let mut list = vec![objects::listeners(listener), objects::route("r", rules), objects::backend("a", &[sim.addr()])];
    list.extend(more);
    (Setup::with(list).serve().await, sim)
}

async fn ask(gateway: &Gateway, call: Call) -> Reply {
    call.echo().send(gateway.http()).await
}

const CONSENT: &str = "HTTP/1.1 200 OK\r\nx-user: ann\r\nx-tenant: t1\r\nhost: evil.test\r\nx-gateway-model-name: evil\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_that_is_allowed_goes_on_with_what_the_server_says_of_it() {
    let (server, mut asked) = server(CONSENT).await;
    let auth = asking("auth", json!({"path": "/check", "allowedHeaders": ["Cookie"]}), json!({}));
    let (gateway, _sim) = gateway(json!([]), json!([auth]), vec![objects::backend("auth", &[server.address])]).await;
    let call = Call::json("/v1/x?q=1", "{\"a\":1}").host("own.test").header("authorization", "Bearer s").header("cookie", "c=1");
    let reply = ask(&gateway, call.header("x-user", "mallory").header("x-private", "p")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let received = ["x-user", "x-tenant", "host", "x-gateway-model-name", "content-type", "x-private"].map(|it| reply.received(it));
    assert_eq!(received, ["ann", "t1", "own.test", "", "application/json", "p"]);

    let received = asked.recv().await.unwrap();
    assert!(received.head.starts_with("POST /check/v1/x?q=1 HTTP/1.1\r\n"), "{}", received.head);
    let told =
        ["host", "authorization", "cookie", "content-length", "x-private", "content-type"].map(|name| header(&received.head, name));
    assert_eq!(told, [Some("own.test"), Some("Bearer s"), Some("c=1"), Some("0"), None, None]);
    assert_eq!(received.body, b"");
}

#[tokio::test]
async fn a_header_that_is_named_is_the_servers_to_say() {
    let (server, _asked) = server(CONSENT).await;
    let auth = asking("auth", json!({"allowedResponseHeaders": ["X-User", "X-Role"]}), json!({}));
    let (gateway, _sim) = gateway(json!([]), json!([auth]), vec![objects::backend("auth", &[server.address])]).await;
    let reply = ask(&gateway, Call::get("/").header("x-role", "admin").header("x-tenant", "own")).await;
    assert_eq!(["x-user", "x-role", "x-tenant"].map(|it| reply.received(it)), ["ann", "", "own"]);
}

#[tokio::test]
async fn a_refusal_is_the_servers_own_words_and_nothing_comes_after_it() {
    let (first, _asked) = server(
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-type: text/plain\r\ncontent-length: 7\r\n\r\nwho are",
    )
    .await;
    let (second, mut later) = server(CONSENT).await;
    let before = json!([asking("first", json!({}), json!({})), asking("second", json!({}), json!({}))]);
    let more = vec![objects::backend("first", &[first.address]), objects::backend("second", &[second.address])];
    let (gateway, sim) = gateway(before, json!([]), more).await;
    let reply = ask(&gateway, Call::get("/")).await;
    assert_eq!((reply.status.as_u16(), reply.header("www-authenticate"), &*reply.text()), (401, "Basic", "who are"));
    assert_eq!(sim.stats().requests, 0, "nothing reaches the backend");
    assert!(later.try_recv().is_err(), "nor the server that comes after");
    let line = gateway.logged("a refusal", |line| line["flag"] == "UAEX").await;
    assert_eq!(line["detail"], "the authorization server backend/default/first answered 401 Unauthorized");
}

#[tokio::test]
async fn what_a_listener_asks_decides_by_what_is_routed() {
    let (server, _asked) = server(CONSENT).await;
    let sims = [instant("tenant", "m").await, instant("other", "m").await];
    let listener = json!([{"name": "http", "protocol": "HTTP", "port": 8080, "filters": {"requests": [asking("auth", json!({}), json!({}))]}}]);
    let by_tenant =
        json!([{"matches": [{"headers": [{"name": "x-tenant", "value": "t1"}]}], "backendRefs": [objects::to_backend("tenant")]}]);
    let list = vec![
        objects::listeners(listener),
        objects::route("tenant", by_tenant),
        objects::route("other", everything_to(objects::to_backend("other"))),
        objects::backend("tenant", &[sims[0].addr()]),
        objects::backend("other", &[sims[1].addr()]),
        objects::backend("auth", &[server.address]),
    ];
    let gateway = Setup::with(list).serve().await;
    let reply = ask(&gateway, Call::get("/").header("x-tenant", "t2")).await;
    assert_eq!((reply.server(), &*reply.received("x-tenant")), ("tenant", "t1"));
}

#[tokio::test]
async fn a_body_is_told_up_to_its_bound_and_reaches_the_backend_too() {
    let (server, mut asked) = server(CONSENT).await;
    let auth = asking("auth", json!({}), json!({"forwardBody": {"maxSize": 64}}));
    let (gateway, sim) = gateway(json!([auth]), json!([]), vec![objects::backend("auth", &[server.address])]).await;
    let body = "{\"model\":\"m\",\"prompt\":\"hello\"}";
    let reply = ask(&gateway, Call::json("/v1/completions", body)).await;
    assert_eq!((reply.status.as_u16(), &*reply.received("content-length")), (200, &*body.len().to_string()));
    let received = asked.recv().await.unwrap();
    assert_eq!((received.body, header(&received.head, "content-length")), (body.into(), Some(&*body.len().to_string())));
    let before = sim.stats().requests;
    let reply = ask(&gateway, Call::json("/v1/completions", "x".repeat(65))).await;
    assert_eq!((reply.status.as_u16(), sim.stats().requests - before), (413, 0));
    assert!(asked.try_recv().is_err(), "nobody is asked about it");
}

#[tokio::test]
async fn without_a_decision_nothing_passes() {
    let (failing, _asked) = server("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops").await;
    let (garbled, _asked) = server("what?\r\n\r\n").await;
    let gone = Server::start(|_: Wire| async { Ok(()) }).await.address;
    let filter = |name: &str| json!([asking(name, json!({}), json!({}))]);
    let more = vec![
        objects::backend("failing", &[failing.address]),
        objects::backend("garbled", &[garbled.address]),
        objects::backend("gone", &[gone]),
    ];
    for (name, status) in [("failing", 503), ("garbled", 503), ("gone", 503), ("absent", 500)] {
        let (gateway, sim) = gateway(json!([]), filter(name), more.clone()).await;
        let reply = ask(&gateway, Call::get("/")).await;
        assert_eq!((reply.status.as_u16(), sim.stats().requests), (status, 0), "{name}: {}", reply.text());
        assert!(!reply.text().contains("oops"), "{}", reply.text());
    }
}

#[tokio::test]
async fn browsers_may_ask_whether_they_may_ask() {
    let (server, mut asked) = server("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let cors = json!({"type": "CORS", "cors": {"allowOrigins": ["https://app.test"], "allowMethods": ["GET"]}});
    let filters = json!([asking("auth", json!({}), json!({})), cors]);
    let (gateway, _sim) = gateway(json!([]), filters, vec![objects::backend("auth", &[server.address])]).await;
    let preflight = Call::new("OPTIONS", "/").header("origin", "https://app.test").header("access-control-request-method", "GET");
    assert_eq!(preflight.send(gateway.http()).await.header("access-control-allow-origin"), "https://app.test");
    assert!(asked.try_recv().is_err());
    let refused = Call::get("/").header("origin", "https://app.test").send(gateway.http()).await;
    assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (403, "https://app.test"));
}
