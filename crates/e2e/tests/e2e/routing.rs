//! HTTPRoute and GRPCRoute: which rule a request meets.

use std::net::SocketAddr;

use pailou_e2e::client::{Call, Connection};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{objects, wait};
use pailou_sim::Sim;
use serde_json::{Value, json};

use crate::support::{everything_to, instant};

/// Engines called `a` and `b`, each a Backend of its name.
async fn backends() -> ([Sim; 2], Vec<Value>) {
    let sims = [instant("a", "m").await, instant("b", "m").await];
    let list = vec![objects::gateway(), objects::backend("a", &[sims[0].addr()]), objects::backend("b", &[sims[1].addr()])];
    (sims, list)
}

async fn serve(mut list: Vec<Value>, more: impl IntoIterator<Item = Value>) -> Gateway {
    list.extend(more);
    Setup::with(list).serve().await
}

/// The backend that answers, or the status if none does.
async fn who(gateway: &Gateway, call: Call) -> String {
    let reply = call.echo().send(gateway.http()).await;
    if reply.status == 200 { reply.server().to_owned() } else { reply.status.as_u16().to_string() }
}

/// A rule for a match.
fn rule(to: &str, matches: Value) -> Value {
    json!({"matches": [matches], "backendRefs": [objects::to_backend(to)]})
}

#[tokio::test]
async fn the_more_specific_match_wins_wherever_it_stands() {
    let (_sims, list) = backends().await;
    let exact = |path: &str| json!({"path": {"type": "Exact", "value": path}});
    let with = |prefix: &str, more: Value| {
        let mut rule = objects::by_prefix(prefix);
        more.as_object().unwrap().iter().for_each(|(key, value)| rule[key] = value.clone());
        rule
    };
    let rules = json!([
        rule("a", objects::by_prefix("/")),
        rule("b", objects::by_prefix("/long/prefix")),
        rule("a", objects::by_prefix("/long")),
        rule("a", exact("/long/prefix/x")),
        rule("b", with("/m", json!({"method": "PUT"}))),
        rule("a", with("/m", json!({"headers": [{"name": "x-one", "value": "1"}]}))),
        rule("b", with("/m", json!({"headers": [{"name": "x-one", "value": "1"}, {"name": "x-two", "value": "2"}]}))),
        rule("b", with("/q", json!({"queryParams": [{"name": "k", "value": "v"}]}))),
        rule("b", json!({"path": {"type": "RegularExpression", "value": "/r/[0-9]+"}})),
        rule("b", with("/h", json!({"headers": [{"type": "RegularExpression", "name": "x-re", "value": "v[0-9]"}]}))),
    ]);
    let gateway = serve(list, [objects::route("r", rules)]).await;
    let cases = [
        (Call::get("/"), "a"),
        (Call::get("/long/prefix"), "b"),
        (Call::get("/long/prefix/y"), "b"),
        (Call::get("/long/prefix/x"), "a"),
        (Call::get("/long/prefixes"), "a"),
        (Call::new("PUT", "/m"), "b"),
        (Call::new("PUT", "/m").header("x-one", "1"), "b"),
        (Call::get("/m").header("X-One", "1"), "a"),
        (Call::get("/m").header("x-one", "1").header("x-two", "2"), "b"),
        (Call::get("/q?z=1&k=v"), "b"),
        (Call::get("/q?k=V"), "a"),
        (Call::get("/r/42"), "b"),
        (Call::get("/r/4x"), "a"),
        (Call::get("/h").header("x-re", "v7"), "b"),
        (Call::get("/h").header("x-re", "7"), "a"),
    ];
    for (call, server) in cases {
        assert_eq!(who(&gateway, call.clone()).await, server, "{call:?}");
    }
}

#[tokio::test]
async fn a_prefix_ends_where_a_path_element_does() {
    let (_sims, list) = backends().await;
    let rules = json!([rule("a", objects::by_prefix("/v2/")), rule("b", objects::by_prefix("/v3"))]);
    let gateway = serve(list, [objects::route("r", rules)]).await;
    let cases = [
        ("/v2", "a"),
        ("/v2/", "a"),
        ("/v2/x", "a"),
        ("/v2x", "404"),
        ("/v3?a", "b"),
        ("/v3x", "404"),
        ("/V2", "404"),
        ("/", "404"),
    ];
    for (path, server) in cases {
        assert_eq!(who(&gateway, Call::get(path)).await, server, "{path}");
    }
}

#[tokio::test]
async fn hosts_choose_by_the_most_specific_name() {
    let (_sims, list) = backends().await;
    let all = |to: &str| everything_to(objects::to_backend(to));
    let routes = [
        objects::host_route("wild", &["*.models.test"], all("a")),
        objects::host_route("exact", &["qwen.models.test"], all("b")),
        objects::host_route("deeper", &["*.eu.models.test"], all("b")),
    ];
    let gateway = serve(list, routes).await;
    let cases = [
        ("qwen.models.test", "b"),
        ("QWEN.Models.test:8080", "b"),
        ("other.models.test", "a"),
        ("x.y.models.test", "a"),
        ("x.eu.models.test", "b"),
        ("models.test", "404"),
        ("elsewhere.test", "404"),
    ];
    for (host, server) in cases {
        assert_eq!(who(&gateway, Call::get("/").host(host)).await, server, "{host}");
    }
}

#[tokio::test]
async fn gateways_and_listeners_have_routes_of_their_own() {
    let (sims, mut list) = backends().await;
    list[0] = objects::listeners(json!([
        {"name": "http", "protocol": "HTTP", "port": 8080},
        {"name": "inner", "protocol": "HTTP", "port": 8081},
    ]));
    let class = json!({"gatewayClassName": "ack-gateway", "listeners": [{"name": "http", "protocol": "HTTP", "port": 8082}]});
    list.push(objects::object("gateway.networking.k8s.io/v1", "Gateway", "other", class));
    let on = |name: &str, parent: Value, to: &str| {
        let spec = json!({"parentRefs": [parent], "rules": everything_to(objects::to_backend(to))});
        objects::object("gateway.networking.k8s.io/v1", "HTTPRoute", name, spec)
    };
    let routes = [
        on("outer", json!({"name": "gw", "sectionName": "http"}), "a"),
        on("inner", json!({"name": "gw", "port": 8081}), "b"),
        on("other", json!({"name": "other"}), "a"),
    ];
    let gateway = serve(list, routes).await;
    let server = |port: u16| {
        let to = gateway.port(port);
        async move { Call::get("/").echo().send(to).await.server().to_owned() }
    };
    assert_eq!([server(8080).await, server(8081).await, server(8082).await], ["a", "b", "a"]);
    drop(sims);
}

#[tokio::test]
async fn a_service_leads_to_its_endpoint_slices() {
    let (sims, list) = backends().await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "engine"},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
    });
    let slice = |addresses: Value| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "engine-0", "labels": {"kubernetes.io/service-name": "engine"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8000}], "endpoints": addresses,
        })
    };
    let rules = json!([{"backendRefs": [{"name": "engine", "port": 80}]}]);
    let ready = json!([
        {"addresses": [sims[0].addr().ip()], "conditions": {"ready": true}},
        {"addresses": [sims[1].addr().ip()], "conditions": {"ready": false}},
    ]);
    let mut all = list;
    all.extend([objects::route("r", rules), service]);
    let gateway = serve(all.clone(), [slice(ready)]).await;
    for _ in 0..6 {
        assert_eq!(who(&gateway, Call::get("/")).await, "a");
    }
    all.push(slice(json!([])));
    gateway.save_objects(all);
    let empty = async { while who(&gateway, Call::get("/")).await != "503" {} };
    wait::within("without endpoints there is 503", empty).await;
}

#[tokio::test]
async fn a_backend_that_does_not_exist_fails_its_share_with_500() {
    let (_sims, list) = backends().await;
    let mut here = objects::to_backend("a");
    here["weight"] = 1.into();
    let mut missing = objects::to_backend("missing");
    missing["weight"] = 1.into();
    let gateway = serve(list, [objects::route("r", json!([{"backendRefs": [here, missing]}]))]).await;
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(who(&gateway, Call::get("/")).await == "500");
    }
    assert!((60..=140).contains(&failed), "{failed} of 200");
}

#[tokio::test]
async fn another_namespaces_service_needs_its_grant() {
    let (sims, mut list) = backends().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "team"}, "spec": {"ports": [{"port": 80, "targetPort": 8000}]}});
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "s-0", "namespace": "team", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "ports": [{"port": 8000}], "endpoints": [{"addresses": [sims[0].addr().ip()]}],
    });
    let rules = json!([{"backendRefs": [{"name": "s", "namespace": "team", "port": 80}]}]);
    list.extend([service, slice, objects::route("r", rules)]);
    let gateway = serve(list.clone(), []).await;
    assert_eq!(who(&gateway, Call::get("/")).await, "500");
    let mut grant = objects::object(
        "gateway.networking.k8s.io/v1beta1",
        "ReferenceGrant",
        "g",
        json!({
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}],
            "to": [{"group": "", "kind": "Service", "name": "s"}],
        }),
    );
    grant["metadata"]["namespace"] = "team".into();
    gateway.save("grant.yaml", &objects::documents([grant]));
    let granted = async { while who(&gateway, Call::get("/")).await != "a" {} };
    wait::within("the grant holds", granted).await;
    gateway.remove("grant.yaml");
    let withdrawn = async { while who(&gateway, Call::get("/")).await != "500" {} };
    wait::within("its withdrawal does", withdrawn).await;
}

#[tokio::test]
async fn grpc_routes_match_services_and_methods() {
    let (_sims, mut list) = backends().await;
    for (name, index) in [("a", 1), ("b", 2)] {
        list[index]["spec"]["appProtocols"] = json!(["gateway.envoyproxy.io/h2c"]);
        assert_eq!(list[index]["metadata"]["name"], name);
    }
    let by = |to: &str, method: Value| json!({"matches": [{"method": method}], "backendRefs": [objects::to_backend(to)]});
    let rules = json!([
        by("a", json!({"service": "inference.Engine"})),
        by("b", json!({"service": "inference.Engine", "method": "Embed"}))
    ]);
    let spec = json!({"parentRefs": [{"name": "gw"}], "rules": rules});
    let gateway = serve(list, [objects::object("gateway.networking.k8s.io/v1", "GRPCRoute", "g", spec)]).await;
    let ask = |path: &'static str| {
        let to: SocketAddr = gateway.http();
        async move {
            let call = Call::post(path, "\0\0\0\0\0").header("content-type", "application/grpc").header("te", "trailers").echo();
            wait::within(path, Connection::http2(to).await.unwrap().send(call)).await.unwrap()
        }
    };
    assert_eq!(ask("/inference.Engine/Chat").await.server(), "a");
    let embed = ask("/inference.Engine/Embed").await;
    assert_eq!((embed.server(), &embed.json()["http_version"]), ("b", &json!("HTTP/2.0")));
    let unknown = ask("/other.Engine/Chat").await;
    assert_eq!((unknown.status.as_u16(), unknown.header("grpc-status")), (200, "12"), "Unimplemented");
}
