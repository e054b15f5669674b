//! The pool that an endpoint picker follows: one of one namespace, and nothing that needs more than a Role there.

use http::Method;
use pailou_api::NamespaceName;
use pailou_apiserver::Api;
use pailou_compile::one_pool;
use pailou_control::{
    Connection,
    pool::{PoolFollower, PoolName},
};
use pailou_snapshot::OnePool;
use serde_json::{Value, json};

use crate::cluster::{PODS, POOLS, client, define, until};

const GROUP: &str = "inference.networking.k8s.io";
const GROUP_X: &str = "inference.networking.x-k8s.io";
const GROUP_LLM_D: &str = "llm-d.ai";
const OBJECTIVES_LLM_D: &str = "/apis/llm-d.ai/v1alpha2/inferenceobjectives";
const TLS_POLICIES: &str = "/apis/gateway.networking.k8s.io/v1/backendtlspolicies";
const OBJECTIVES: &str = "/apis/inference.networking.x-k8s.io/v1alpha2/inferenceobjectives";

fn pool(namespace: &str, name: &str, app: &str) -> Value {
    let spec = json!({ "selector": { "matchLabels": { "app": app } }, "targetPorts": [{ "number": 8000 }] });
    object(&format!("{GROUP}/v1"), "InferencePool", namespace, name, spec)
}

fn pod(namespace: &str, name: &str, app: &str, ip: &str) -> Value {
    let mut pod = object("v1", "Pod", namespace, name, json!({ "containers": [{ "name": "engine", "image": "engine" }] }));
    pod["metadata"]["labels"] = json!({ "app": app });
    pod["status"] = json!({ "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [{ "type": "Ready", "status": "True" }] });
    pod
}

fn object(version: &str, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": version, "kind": kind, "metadata": { "namespace": namespace, "name": name }, "spec": spec })
}

fn follow(api: &Api) -> PoolFollower {
    let connection = Connection { client: client(api), namespace: "default".to_owned(), origin: "the test".into() };
    let namespace = NamespaceName::try_from("models").expect("it is a namespace");
    PoolFollower::start(connection, PoolName { group: None, namespace, name: "qwen".to_owned() })
}

fn followed(follower: &PoolFollower) -> Option<OnePool> {
    let objects = follower.objects().borrow().clone()?;
    one_pool(&objects, None, ("models", "qwen"), None)
}

fn names(follower: &PoolFollower) -> Vec<String> {
    let mut names: Vec<_> = followed(follower).iter().flat_map(|pool| &pool.endpoints).map(|it| it.name.to_string()).collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_followed_with_its_pods_and_objectives_alone() {
    let api = Api::default();
    define(&api, GROUP, "inferencepools", "InferencePool", &["v1"]);
    define(&api, GROUP_X, "inferenceobjectives", "InferenceObjective", &["v1alpha2"]);
    define(&api, GROUP_LLM_D, "inferenceobjectives", "InferenceObjective", &["v1alpha2"]);
    api.apply(POOLS, pool("models", "qwen", "a"));
    api.apply(POOLS, pool("models", "other", "b"));
    for (namespace, name, app, ip) in
        [("models", "a-0", "a", "10.0.0.1"), ("models", "b-0", "b", "10.0.0.2"), ("elsewhere", "a-9", "a", "10.0.0.9")]
    {
        api.apply(PODS, pod(namespace, name, app, ip));
    }
    let follower = follow(&api);
    until("the pool's pod is known", || names(&follower) == ["a-0"]).await;
    api.apply(PODS, pod("models", "a-1", "a", "10.0.0.3"));
    until("another came", || names(&follower) == ["a-0", "a-1"]).await;
    api.delete(PODS, "models/a-0");
    until("the first is gone", || names(&follower) == ["a-1"]).await;
    let spec = json!({ "priority": -1, "poolRef": { "group": GROUP, "kind": "InferencePool", "name": "qwen" } });
    api.apply(OBJECTIVES, object(&format!("{GROUP_X}/v1alpha2"), "InferenceObjective", "models", "batch", spec));
    until("the objective is known", || followed(&follower).is_some_and(|it| it.pool.objectives.get("batch") == Some(&-1))).await;
    // The newer group's object of the name counts.
    let spec = json!({ "priority": -7, "poolRef": { "name": "qwen" } });
    api.apply(OBJECTIVES_LLM_D, object(&format!("{GROUP_LLM_D}/v1alpha2"), "InferenceObjective", "models", "batch", spec));
    until("the newer one counts", || followed(&follower).is_some_and(|it| it.pool.objectives.get("batch") == Some(&-7))).await;
    api.delete(OBJECTIVES_LLM_D, "models/batch");
    until("the older one counts", || followed(&follower).is_some_and(|it| it.pool.objectives.get("batch") == Some(&-1))).await;
    api.apply(POOLS, pool("models", "qwen", "b"));
    until("the pool has the other's pods", || names(&follower) == ["b-0"]).await;
    api.delete(POOLS, "models/qwen");
    until("there is no pool", || followed(&follower).is_none()).await;
    // Discovery apart, the follower makes no request that needs more than a Role.
    for request in api.requests(&Method::GET, "") {
        let is_discovery = request.path.starts_with("/apis/") && request.path.split('/').count() == 4;
        assert!(is_discovery || request.path.contains("/namespaces/models/"), "{request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_and_its_authority_verify_the_engines() {
    let api = Api::default();
    define(&api, GROUP, "inferencepools", "InferencePool", &["v1"]);
    define(&api, "gateway.networking.k8s.io", "backendtlspolicies", "BackendTLSPolicy", &["v1"]);
    api.apply(POOLS, pool("models", "qwen", "a"));
    let follower = follow(&api);
    until("the pool is known", || followed(&follower).is_some_and(|it| matches!(it.tls, Ok(None)))).await;
    assert!(api.requests(&Method::GET, "/api/v1/namespaces/models/configmaps").is_empty());
    let validation =
        json!({ "hostname": "engine.test", "caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": "authority" }] });
    let spec = json!({ "targetRefs": [{ "group": GROUP, "kind": "InferencePool", "name": "qwen" }], "validation": validation });
    api.apply(TLS_POLICIES, object("gateway.networking.k8s.io/v1", "BackendTLSPolicy", "models", "engines", spec));
    until("there is no authority", || followed(&follower).is_some_and(|it| it.tls.is_err())).await;
    let mut authority = object("v1", "ConfigMap", "models", "authority", Value::Null);
    authority["data"] = json!({ "ca.crt": rcgen::generate_simple_self_signed(["engine.test".to_owned()]).unwrap().cert.pem() });
    api.apply("/api/v1/configmaps", authority);
    let sni = || followed(&follower).and_then(|it| it.tls.ok()?.map(|tls| tls.sni.to_string()));
    until("there is one", || sni() == Some("engine.test".to_owned())).await;
}

#[tokio::test(start_paused = true)]
async fn definitions_and_an_api_server_that_come_later_are_waited_for() {
    let api = Api::default();
    api.set_down(true);
    let follower = follow(&api);
    until("it got a request", || !api.requests(&Method::GET, "/apis/").is_empty()).await;
    assert!(follower.objects().borrow().is_none());
    define(&api, GROUP, "inferencepools", "InferencePool", &["v1"]);
    api.apply(POOLS, pool("models", "qwen", "a"));
    api.apply(PODS, pod("models", "a-0", "a", "10.0.0.1"));
    api.set_down(false);
    until("the pod is known", || names(&follower) == ["a-0"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_configuration_that_the_pool_names_is_followed() {
    let api = Api::default();
    define(&api, GROUP, "inferencepools", "InferencePool", &["v1"]);
    api.apply(POOLS, pool("models", "qwen", "a"));
    let follower = follow(&api);
    until("the pool is known", || followed(&follower).is_some()).await;
    assert!(followed(&follower).is_some_and(|it| it.pool.scorers.is_none()));
    let mut named = pool("models", "qwen", "a");
    named["metadata"]["annotations"] = json!({ "pailou.dev/endpoint-picker-config": "plugins" });
    api.apply(POOLS, named);
    until("its absence is told", || followed(&follower).is_some_and(|it| it.warnings[..].concat().contains("no ConfigMap"))).await;
    let text = "{apiVersion: llm-d.ai/v1alpha1, kind: EndpointPickerConfig, plugins: [{type: queue-scorer}]}";
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "models", "name": "plugins" },
        "data": { "default-plugins.yaml": text },
    });
    api.apply("/api/v1/configmaps", map);
    until("its scorers count", || followed(&follower).is_some_and(|it| it.pool.scorers.as_ref().is_some_and(|it| it.queue == 1.0)))
        .await;
    api.delete("/api/v1/configmaps", "models/plugins");
    until("they do not count any more", || followed(&follower).is_some_and(|it| it.pool.scorers.is_none())).await;
}
