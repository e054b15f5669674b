//! Objects of the cluster.

use std::net::SocketAddr;

use pailou_apiserver::Api;
use serde_json::{Value, json};

const CLASSES: &str = "/apis/gateway.networking.k8s.io/v1/gatewayclasses";
const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/gateways";
pub(super) const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/httproutes";
const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
const CONFIG_MAPS: &str = "/api/v1/configmaps";

/// The Gateway that is served; others are there with it, and have no proxies.
const GATEWAY: &str = "bench";
const OTHERS: u32 = 9;
/// The label that names it. Source: Gateway API.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Kinds whose definitions are installed.
const KINDS: [(&str, &str, &str); 3] = [
    ("gateway.networking.k8s.io", "gatewayclasses", "GatewayClass"),
    ("gateway.networking.k8s.io", "gateways", "Gateway"),
    ("gateway.networking.k8s.io", "httproutes", "HTTPRoute"),
];

/// How the API server is reached.
pub(super) fn kubeconfig(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "memory",
        "clusters": [{ "name": "memory", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "nobody", "user": {} }],
        "contexts": [{ "name": "memory", "context": { "cluster": "memory", "user": "nobody", "namespace": "pailou" } }],
    })
}

/// Puts everything there.
pub(super) fn fill(api: &Api, port: u16, engines: [SocketAddr; 2], routes: u32) {
    for (group, plural, kind) in KINDS {
        api.define("v1.7.0", group, plural, kind, &["v1"]);
    }
    api.apply("/api/v1/namespaces", json!({ "metadata": { "name": "default" } }));
    api.apply(CLASSES, json!({ "metadata": { "name": "pailou" }, "spec": { "controllerName": "pailou.dev/gateway-controller" } }));
    api.apply(GATEWAYS, gateway(GATEWAY, port));
    for number in 0..OTHERS {
        api.apply(GATEWAYS, gateway(&format!("other-{number}"), 80));
    }
    api.apply("/api/v1/services", object("engine", json!({ "ports": [{ "port": 80, "targetPort": engines[0].port() }] })));
    api.apply("/apis/discovery.k8s.io/v1/endpointslices", slice(engines));
    for number in 0..routes {
        api.apply(ROUTES, route(number));
    }
}

fn object(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": "default" }, "spec": spec })
}

fn gateway(name: &str, port: u16) -> Value {
    let listeners = json!([{ "name": "http", "port": port, "protocol": "HTTP" }]);
    object(name, json!({ "gatewayClassName": "pailou", "listeners": listeners }))
}

fn slice(engines: [SocketAddr; 2]) -> Value {
    let endpoint = |engine: SocketAddr| json!({ "addresses": [engine.ip()], "conditions": { "ready": true } });
    json!({
        "metadata": { "name": "engine-1", "namespace": "default", "labels": { "kubernetes.io/service-name": "engine" } },
        "addressType": "IPv4", "ports": [{ "port": engines[0].port() }], "endpoints": engines.map(endpoint),
    })
}

/// A route by a path of its own.
pub(super) fn route(number: u32) -> Value {
    let matches = json!([{ "path": { "type": "PathPrefix", "value": format!("/route-{number}") } }]);
    let rules = json!([{ "matches": matches, "backendRefs": [{ "name": "engine", "port": 80 }] }]);
    object(&format!("route-{number}"), json!({ "parentRefs": [{ "name": GATEWAY }], "rules": rules }))
}

/// Path of that route.
pub(super) fn name(number: u32) -> String {
    format!("default/route-{number}")
}

/// The Deployment for the Gateway that is served, and the authorities of the feed, once the controller has made both.
pub(super) fn provisioned(api: &Api) -> Option<(Value, String)> {
    let made = |collection: &str| api.all(collection).into_iter().find(|it| it["metadata"]["labels"][GATEWAY_NAME] == GATEWAY);
    let authorities = made(CONFIG_MAPS)?["data"]["ca.crt"].as_str()?.to_owned();
    Some((made(DEPLOYMENTS)?, authorities))
}

/// The arguments that its pods have, but for those of the feed and the admin endpoint.
pub(super) fn arguments(deployment: &Value) -> Vec<String> {
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().into_iter().flatten();
    let kept = arguments.filter_map(Value::as_str).filter(|it| !it.starts_with("--feed") && !it.starts_with("--admin"));
    kept.map(str::to_owned).collect()
}

/// A token of its pods, as the API server reads them.
pub(super) fn token(deployment: &Value) -> String {
    let account = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    format!("default:{account}")
}
