//! A cluster with a gateway in it, and a controller that follows it.

use std::time::Duration;

use http::Method;
use kube::Client;
use pailou_api::NamespaceName;
use pailou_apiserver::Api;
use pailou_compile::{Mode, Settings};
use pailou_control::{CompiledState, Controller, Options, leader};
use serde_json::{Value, json};
use tokio::time;

pub(crate) const CLASSES: &str = "/apis/gateway.networking.k8s.io/v1/gatewayclasses";
pub(crate) const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/gateways";
pub(crate) const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/httproutes";
pub(crate) const POOLS: &str = "/apis/inference.networking.k8s.io/v1/inferencepools";
pub(crate) const SERVICES: &str = "/api/v1/services";
pub(crate) const PODS: &str = "/api/v1/pods";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The controller's own name.
pub(crate) const CONTROLLER: &str = "pailou.dev/gateway-controller";
/// A name that another controller answers to as well.
pub(crate) const SHARED: &str = "gateway.envoyproxy.io/gatewayclass-controller";

/// A cluster that has a class, a Gateway, a Service and a route.
pub(crate) fn cluster() -> Api {
    let api = Api::default();
    for (plural, kind) in [("gatewayclasses", "GatewayClass"), ("gateways", "Gateway"), ("httproutes", "HTTPRoute")] {
        define(&api, "gateway.networking.k8s.io", plural, kind, &["v1", "v1beta1"]);
    }
    api.apply("/api/v1/namespaces", json!({ "metadata": { "name": "default" } }));
    api.apply(CLASSES, class("pailou", CONTROLLER));
    api.apply(GATEWAYS, gateway("g", "pailou"));
    api.apply(SERVICES, service("s"));
    api.apply(ROUTES, route("r", "g", "s"));
    api
}

/// Installs a definition.
pub(crate) fn define(api: &Api, group: &str, plural: &str, kind: &str, versions: &[&str]) {
    api.define("v1.7.0", group, plural, kind, versions);
}

/// Removes a definition with all its objects.
pub(crate) fn undefine(api: &Api, name: &str) {
    api.delete(DEFINITIONS, name);
}

pub(crate) fn class(name: &str, controller: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "controllerName": controller } })
}

pub(crate) fn gateway(name: &str, class: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "gatewayClassName": class, "listeners": [{ "name": "http", "port": 8080, "protocol": "HTTP" }] },
    })
}

pub(crate) fn service(name: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "default" }, "spec": { "ports": [{ "port": 80 }] } })
}

pub(crate) fn route(name: &str, gateway: &str, service: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "parentRefs": [{ "name": gateway }], "rules": [{ "backendRefs": [{ "name": service, "port": 80 }] }] },
    })
}

pub(crate) fn pool(name: &str, app: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "app": app } },
            "targetPorts": [{ "number": 8000 }],
            "endpointPickerRef": { "name": "epp", "port": { "number": 9002 } },
        },
    })
}

/// A client of the server.
pub(crate) fn client(api: &Api) -> Client {
    let api = api.clone();
    let service = tower::service_fn(move |request| {
        let api = api.clone();
        async move { api.answer(request).await }
    });
    Client::new(service, "default")
}

/// A controller of this name in the Lease.
pub(crate) fn start(api: &Api, identity: &str) -> Controller {
    Controller::start(client(api), options(identity))
}

pub(crate) fn options(identity: &str) -> Options {
    Options {
        namespaces: Vec::<NamespaceName>::new(),
        origin: "cluster".into(),
        settings: Settings { classes: Vec::new(), mode: Mode::Cluster, ..Settings::default() },
        lease: leader::Options {
            namespace: "pailou".to_owned(),
            name: "pailou-controller".to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(2),
        },
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within 10 s");
}

/// The last compilation.
pub(crate) fn published(controller: &Controller) -> Option<CompiledState> {
    controller.published().borrow().clone()
}

/// The names of the objects of a kind that were compiled last.
pub(crate) fn names(controller: &Controller, kind: &str) -> Vec<String> {
    let Some(published) = published(controller) else { return Vec::new() };
    published.cluster.store.iter().filter(|(key, _)| key.kind == kind).map(|(key, _)| key.name.clone()).collect()
}

/// A condition among these.
pub(crate) fn condition<'a>(conditions: &'a Value, kind: &str) -> &'a Value {
    conditions.as_array().and_then(|all| all.iter().find(|it| it["type"] == kind)).unwrap_or(&Value::Null)
}

/// How many statuses were written.
pub(crate) fn writes(api: &Api) -> usize {
    api.requests(&Method::PUT, "/status").len()
}

/// Waits until no status is written any more.
pub(crate) async fn quiet(api: &Api) {
    let mut before = usize::MAX;
    while before != writes(api) {
        before = writes(api);
        time::sleep(Duration::from_millis(300)).await;
    }
}
