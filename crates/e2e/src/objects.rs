//! Kubernetes objects for tests. Fields that a test does not give have their defaults.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

/// Objects as one multi-document file: JSON is YAML too.
pub fn documents(list: impl IntoIterator<Item = Value>) -> String {
    list.into_iter().map(|object| format!("{object:#}\n")).collect::<Vec<_>>().join("---\n")
}

/// An object of any kind.
pub fn object(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The Gateway `gw` with a plain listener on 8080.
pub fn gateway() -> Value {
    listeners(json!([{"name": "http", "protocol": "HTTP", "port": crate::gateway::HTTP}]))
}

/// The Gateway `gw` with these listeners.
pub fn listeners(listeners: Value) -> Value {
    let spec = json!({"gatewayClassName": "ack-gateway", "listeners": listeners});
    object("gateway.networking.k8s.io/v1", "Gateway", "gw", spec)
}

/// An HTTPRoute of `gw` with these rules.
pub fn route(name: &str, rules: Value) -> Value {
    object("gateway.networking.k8s.io/v1", "HTTPRoute", name, json!({"parentRefs": [{"name": "gw"}], "rules": rules}))
}

/// An HTTPRoute of `gw` with these hostnames and rules.
pub fn host_route(name: &str, hostnames: &[&str], rules: Value) -> Value {
    let spec = json!({"parentRefs": [{"name": "gw"}], "hostnames": hostnames, "rules": rules});
    object("gateway.networking.k8s.io/v1", "HTTPRoute", name, spec)
}

/// A match on the model that the body names.
pub fn by_model(model: &str) -> Value {
    json!({"headers": [{"name": "X-Gateway-Model-Name", "value": model}]})
}

/// A match on a path prefix.
pub fn by_prefix(path: &str) -> Value {
    json!({"path": {"type": "PathPrefix", "value": path}})
}

/// A ready Pod.
pub fn pod(name: &str, app: &str, address: Ipv4Addr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// An InferencePool of the pods labelled `app: NAME`, on port 8000.
pub fn pool(name: &str) -> Value {
    let spec = json!({"selector": {"matchLabels": {"app": name}}, "targetPorts": [{"number": 8000}]});
    object("inference.networking.k8s.io/v1", "InferencePool", name, spec)
}

/// A backendRef to an InferencePool.
pub fn to_pool(name: &str) -> Value {
    json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name})
}

/// A Backend at these addresses.
pub fn backend(name: &str, addresses: &[SocketAddr]) -> Value {
    let ip = |address: &SocketAddr| json!({"ip": {"address": address.ip(), "port": address.port()}});
    let endpoints: Vec<Value> = addresses.iter().map(ip).collect();
    object("gateway.envoyproxy.io/v1alpha1", "Backend", name, json!({"endpoints": endpoints}))
}

/// A backendRef to a Backend.
pub fn to_backend(name: &str) -> Value {
    json!({"group": "gateway.envoyproxy.io", "kind": "Backend", "name": name})
}

/// A policy of Envoy Gateway on the Gateway `gw`.
pub fn on_gateway(kind: &str, spec: Value) -> Value {
    targeting(kind, "gateway.networking.k8s.io", "Gateway", "gw", spec)
}

/// A policy of Envoy Gateway on an HTTPRoute.
pub fn on_route(kind: &str, route: &str, spec: Value) -> Value {
    targeting(kind, "gateway.networking.k8s.io", "HTTPRoute", route, spec)
}

fn targeting(kind: &str, group: &str, target_kind: &str, target: &str, mut spec: Value) -> Value {
    spec["targetRefs"] = json!([{"group": group, "kind": target_kind, "name": target}]);
    object("gateway.envoyproxy.io/v1alpha1", kind, &format!("{kind}-{target}").to_lowercase(), spec)
}

/// A Secret with one key.
pub fn secret(name: &str, key: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}})
}

/// A Secret with a certificate and its key.
pub fn tls_secret(name: &str, tls: &pailou_sim::Tls) -> Value {
    let data = json!({"tls.crt": tls.cert_pem, "tls.key": tls.key_pem.expose()});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls", "stringData": data})
}
