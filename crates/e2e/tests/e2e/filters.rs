//! Filters of routes: headers, paths, hosts, and answers of their own.

use pailou_e2e::client::{Call, Reply};
use pailou_e2e::gateway::Setup;
use pailou_e2e::objects;
use pailou_sim::Sim;
use serde_json::{Value, json};

use crate::support::instant;

/// The answer to a call where one rule, for `/`, has these filters.
struct Filtered {
    gateway: pailou_e2e::gateway::Gateway,
    _sim: Sim,
}

impl Filtered {
    async fn by(filters: Value, on_backend: Value, more: impl IntoIterator<Item = Value>) -> Self {
        let sim = instant("a", "m").await;
        let mut backend = objects::to_backend("a");
        backend["filters"] = on_backend;
        let rules = json!([{"matches": [objects::by_prefix("/api")], "filters": filters, "backendRefs": [backend]}]);
        let mut list = vec![objects::gateway(), objects::route("r", rules), objects::backend("a", &[sim.addr()])];
        list.extend(more);
        Self { gateway: Setup::with(list).serve().await, _sim: sim }
    }

    async fn ask(&self, call: Call) -> Reply {
        call.echo().send(self.gateway.http()).await
    }
}

#[tokio::test]
async fn headers_are_set_added_and_removed_on_both_ways() {
    let edit =
        json!({"set": [{"name": "X-Set", "value": "new"}], "add": [{"name": "X-Add", "value": "two"}], "remove": ["X-Gone"]});
    let filters = json!([
        {"type": "RequestHeaderModifier", "requestHeaderModifier": edit},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-Rule", "value": "r"}], "remove": ["x-sim-server"]}},
    ]);
    let on_backend = json!([
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Backend", "value": "b"}]}},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "X-Backend", "value": "b"}]}},
    ]);
    let filtered = Filtered::by(filters, on_backend, []).await;
    let call = Call::get("/api").header("x-set", "old").header("x-add", "one").header("x-gone", "here");
    let reply = filtered.ask(call).await;
    let received = ["x-set", "x-add", "x-gone", "x-backend"].map(|name| reply.received(name));
    assert_eq!(received, ["new", "one|two", "", "b"]);
    assert_eq!([reply.header("x-rule"), reply.header("x-backend"), reply.header("x-sim-server")], ["r", "b", ""]);
}

#[tokio::test]
async fn prefixes_and_hosts_are_rewritten() {
    let rewrite = |path: Value| json!([{"type": "URLRewrite", "urlRewrite": {"hostname": "inner.test", "path": path}}]);
    let prefix = |to: &str| rewrite(json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to}));
    let cases = [
        (prefix("/v9"), "/api/x?q=1%20", "/v9/x?q=1%20"),
        (prefix("/v9"), "/api", "/v9"),
        (prefix("/v9/"), "/api/x", "/v9/x"),
        (prefix("/"), "/api/x", "/x"),
        (prefix(""), "/api", "/"),
        (rewrite(json!({"type": "ReplaceFullPath", "replaceFullPath": "/one"})), "/api/x?q=1", "/one?q=1"),
    ];
    for (filters, path, expected) in cases {
        let filtered = Filtered::by(filters, json!([]), []).await;
        let reply = filtered.ask(Call::get(path).host("outer.test")).await;
        assert_eq!(reply.json()["path"], expected, "{path}");
        assert_eq!((reply.received("host"), reply.received("x-forwarded-host")), ("inner.test".into(), "outer.test".into()));
    }
}

#[tokio::test]
async fn without_a_rewrite_host_and_path_are_the_clients_but_for_its_normal_form() {
    let filtered = Filtered::by(json!([]), json!([]), []).await;
    let reply = filtered.ask(Call::get("/api/%7Ex//%3ay%2f?a=%zz&b").host("Outer.test:81")).await;
    assert_eq!(reply.json()["path"], "/api/~x/%3Ay/?a=%zz&b");
    assert_eq!(reply.received("host"), "Outer.test:81");
    assert_eq!(reply.received("x-forwarded-proto"), "http");
    assert_eq!(reply.received("x-forwarded-for"), "127.0.0.1");
}

#[tokio::test]
async fn redirects_say_where_to_go() {
    let redirect = |redirect: Value| json!([{"type": "RequestRedirect", "requestRedirect": redirect}]);
    let cases = [
        (json!({"scheme": "https"}), 302, "https://outer.test/api/x?q=1"),
        (json!({"hostname": "other.test", "statusCode": 301}), 301, "http://other.test:8080/api/x?q=1"),
        (json!({"port": 80}), 302, "http://outer.test/api/x?q=1"),
        (json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}), 302, "http://outer.test:8080/new/x?q=1"),
        (
            json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/full"}, "statusCode": 308}),
            308,
            "http://outer.test:8080/full?q=1",
        ),
    ];
    for (to, status, location) in cases {
        let sim = instant("a", "m").await;
        let rules = json!([{"matches": [objects::by_prefix("/api")], "filters": redirect(to.clone())}]);
        let list = [objects::gateway(), objects::route("r", rules), objects::backend("a", &[sim.addr()])];
        let gateway = Setup::with(list).serve().await;
        let reply = Call::get("/api/x?q=1").host("outer.test:8080").send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.header("location")), (status, location), "{to}");
    }
}

#[tokio::test]
async fn cors_answers_preflights_and_marks_answers() {
    let cors = json!({
        "allowOrigins": ["https://*.app.test"], "allowMethods": ["GET", "POST"], "allowHeaders": ["Authorization"],
        "exposeHeaders": ["X-Usage"], "allowCredentials": true, "maxAge": 60,
    });
    let filtered = Filtered::by(json!([{"type": "CORS", "cors": cors}]), json!([]), []).await;
    let preflight =
        |origin: &str| Call::new("OPTIONS", "/api").header("origin", origin).header("access-control-request-method", "POST");
    let reply = preflight("https://chat.app.test").send(filtered.gateway.http()).await;
    assert!([200, 204].contains(&reply.status.as_u16()) && reply.body.is_empty());
    assert_eq!(reply.header("access-control-allow-origin"), "https://chat.app.test");
    assert_eq!(reply.header("access-control-allow-credentials"), "true");
    assert_eq!(reply.header("access-control-max-age"), "60");
    assert!(reply.header("access-control-allow-methods").contains("POST"));
    let foreign = preflight("https://evil.test").send(filtered.gateway.http()).await;
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    let real = filtered.ask(Call::get("/api").header("origin", "https://chat.app.test")).await;
    assert_eq!((real.server(), real.header("access-control-expose-headers")), ("a", "X-Usage"));
    let foreign = filtered.ask(Call::get("/api").header("origin", "https://evil.test")).await;
    assert_eq!((foreign.server(), foreign.header("access-control-allow-origin")), ("a", ""), "served, but not for scripts");
}

#[tokio::test]
async fn an_http_route_filter_answers_by_itself() {
    let spec = json!({"directResponse": {"statusCode": 418, "contentType": "text/plain", "body": {"type": "Inline", "inline": "short and stout"}}});
    let filter = objects::object("gateway.envoyproxy.io/v1alpha1", "HTTPRouteFilter", "teapot", spec);
    let reference = json!([{"type": "ExtensionRef", "extensionRef": {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter", "name": "teapot"}}]);
    let filtered = Filtered::by(reference.clone(), json!([]), [filter]).await;
    let reply = filtered.ask(Call::get("/api")).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (418, "short and stout"));
    let missing = Filtered::by(reference, json!([]), []).await;
    assert_eq!(missing.ask(Call::get("/api")).await.status, 500, "a filter that is not there is not skipped");
}

#[tokio::test]
async fn credentials_are_put_in_where_the_client_sent_none_or_always() {
    for (overwrite, expected) in [(true, "token-1"), (false, "mine")] {
        let spec = json!({"credentialInjection": {"header": "x-api-key", "overwrite": overwrite, "credential": {"valueRef": {"name": "key"}}}});
        let filter = objects::object("gateway.envoyproxy.io/v1alpha1", "HTTPRouteFilter", "inject", spec);
        let reference = json!([{"type": "ExtensionRef", "extensionRef": {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter", "name": "inject"}}]);
        let secret = objects::secret("key", "credential", "token-1\n");
        let filtered = Filtered::by(reference, json!([]), [filter, secret]).await;
        assert_eq!(filtered.ask(Call::get("/api")).await.received("x-api-key"), "token-1");
        assert_eq!(filtered.ask(Call::get("/api").header("x-api-key", "mine")).await.received("x-api-key"), expected);
    }
}
