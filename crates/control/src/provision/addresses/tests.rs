use pailou_api::{NamespaceName, parse::parse};
use pailou_compile::store::Entry;
use serde_json::{Value, json};

use super::*;

fn service(spec: Value, status: Value) -> Service {
    let metadata = json!({ "name": "g-1", "namespace": "models" });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
}

fn node(name: &str, addresses: &[(&str, &str)]) -> Node {
    let addresses: Vec<Value> = addresses.iter().map(|(kind, address)| json!({ "type": kind, "address": address })).collect();
    let node = json!({ "metadata": { "name": name }, "status": { "addresses": addresses } });
    serde_json::from_value(node).unwrap()
}

fn nodes() -> Listed<Node> {
    let nodes = [
        node("c", &[("InternalIP", "10.0.0.3"), ("InternalIP", "fd00::3")]),
        node("a", &[("Hostname", "a"), ("InternalIP", "10.0.0.1"), ("ExternalIP", "192.0.2.1")]),
        node("b", &[("InternalIP", "10.0.0.2")]),
    ];
    nodes.into_iter().collect()
}

/// The Service's endpoints: one that is ready on `b`, one that is not on `a`; another Service's on `c`.
fn store() -> Store {
    let slice = |name: &str, service: &str, endpoints: Value| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": name, "namespace": "models", "labels": { SERVICE_NAME_LABEL: service } },
            "endpoints": endpoints,
        })
    };
    let own = json!([
        { "addresses": ["10.1.0.2"], "nodeName": "b", "conditions": { "ready": true } },
        { "addresses": ["10.1.0.1"], "nodeName": "a", "conditions": { "ready": false } },
    ]);
    let list = json!({
        "apiVersion": "v1", "kind": "List",
        "items": [slice("g-1-x", "g-1", own), slice("other", "other", json!([{ "addresses": ["10.1.0.3"], "nodeName": "c" }]))],
    });
    let parsed = parse(list.to_string().as_bytes(), "test", &NamespaceName::try_from("models").unwrap());
    assert_eq!(parsed.errors, []);
    let mut store = Store::default();
    for decoded in parsed.objects {
        store.upsert(Entry::new(decoded, "test".into())).unwrap();
    }
    store
}

fn found(service: &Service) -> Vec<String> {
    described(of_service(service, &nodes(), &store()))
}

fn described(addresses: Vec<GatewayAddress>) -> Vec<String> {
    let text = |it: GatewayAddress| format!("{} {} {}", it.kind, it.value, it.routability.unwrap());
    addresses.into_iter().map(|it| text(it).trim_end().to_owned()).collect()
}

#[test]
fn a_load_balancer_gives_addresses_and_names() {
    let ingress = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.7" }, { "hostname": "lb.example.com" }, {}] } });
    let service = service(json!({ "type": "LoadBalancer", "clusterIPs": ["10.96.0.7"] }), ingress);
    assert_eq!(found(&service), ["IPAddress 192.0.2.7", "Hostname lb.example.com"]);
    assert_eq!(described(within(&service)), ["IPAddress 10.96.0.7 Cluster"]);
}

#[test]
fn a_service_within_the_cluster_is_reached_by_its_own_addresses() {
    assert_eq!(
        found(&service(json!({ "type": "ClusterIP", "clusterIPs": ["10.96.0.7", "fd00:96::7"] }), json!({}))),
        ["IPAddress 10.96.0.7 Cluster", "IPAddress fd00:96::7 Cluster"]
    );
    let again = within(&service(json!({ "type": "ClusterIP", "clusterIPs": ["10.96.0.7"] }), json!({})));
    assert_eq!(again, []);
    assert_eq!(found(&service(json!({ "type": "ClusterIP", "clusterIPs": ["None"] }), json!({}))), [""; 0]);
}

#[test]
fn ports_of_nodes_are_reached_by_their_addresses_of_the_services_families() {
    let of = |families: &[&str]| found(&service(json!({ "type": "NodePort", "ipFamilies": families }), json!({})));
    assert_eq!(of(&["IPv4"]), ["IPAddress 10.0.0.2", "IPAddress 10.0.0.3", "IPAddress 192.0.2.1"]);
    assert_eq!(of(&["IPv6"]), ["IPAddress fd00::3"]);
    let local = json!({ "type": "NodePort", "ipFamilies": ["IPv4"], "externalTrafficPolicy": "Local" });
    assert_eq!(found(&service(local, json!({}))), ["IPAddress 10.0.0.2"]);
}

#[test]
fn there_are_no_more_addresses_than_a_status_takes() {
    let many: Listed<Node> = (0..40).map(|n| node(&format!("n{n}"), &[("InternalIP", &format!("10.0.1.{n}"))])).collect();
    let service = service(json!({ "type": "NodePort", "ipFamilies": ["IPv4"] }), json!({}));
    let addresses = of_service(&service, &many, &Store::default());
    assert_eq!((addresses.len(), addresses[0].value.as_str()), (MAX_ADDRESSES, "10.0.1.0"));
}
